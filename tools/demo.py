"""`python -m tools.demo`: the whole way on a small synthetic world, by the commands a user types.

Writes videos, extracts them, trains, evaluates before and after, explains; all in `runs/demo/`,
built anew at every call.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from pipeline.cache.reader import ClipReader
from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "python -m tools.demo --train 64 --test 24 --seed 0"
CONFIG = "configs/world.yaml"
#: A part of the world that little data can teach: 12 classes, six of them inverse pairs.
WORLD = (
    "min_s=4",
    "max_s=6",
    "long_side=256",
    "workers=2",
    "classes=[c015,c017,c018,c026,c028,c030,c059,c106,c109,c110,c151,c154]",
)


def main(argv: list[str]) -> int:
    """Run the demo; returns the exit code of the first command that failed, or 0."""
    parser = common_parser("python -m tools.demo", __doc__ or "", EXAMPLE)
    parser.add_argument("--out", default="runs/demo", help="folder below the repository's runs/")
    parser.add_argument("--train", type=int, default=64, help="training videos")
    parser.add_argument("--test", type=int, default=24, help="test videos")
    parser.add_argument("--seed", type=int, default=0)
    args, words = parse_words(parser, argv)
    out = (ROOT / args.out).resolve()
    if not out.is_relative_to(ROOT / "runs") or out == ROOT / "runs":
        raise UsageError(f"--out: a folder below runs/ expected (it is built anew), got {args.out}")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start = time.time()
    demo = Demo(out.relative_to(ROOT), words)
    code = demo.run(args.train, args.test, args.seed)
    if code == EXIT_OK:
        demo.report(time.time() - start)
    return code


class Demo:
    """The commands of the demo, in order."""

    def __init__(self, out: Path, words: list[str]) -> None:
        self.out, self.words = out, words
        self.world, self.cache = out / "world", out / "cache"
        self.before, self.after = out / "untrained", out / "trained"
        self.explained = out / "explained"

    def commands(self, train: int, test: int, seed: int) -> list[list[str]]:
        """Every command but the last, which needs the names of the test videos."""
        world, cache = str(self.world), str(self.cache)
        synthesize = ["tools.synthesize", "--out", world, "--train", str(train)]
        data = ["--videos", f"{world}/videos", "--annotations", f"{world}/annotations"]
        learn = ["pipeline.train", "--config", CONFIG, "--cache", cache, *self.words]
        return [
            [*synthesize, "--test", str(test), "--seed", str(seed), *WORLD],
            ["pipeline.extract", "--config", CONFIG, *data, "--cache", cache, *self.words],
            [*learn, "--run", str(self.before), "train.epochs=0"],
            ["pipeline.evaluate", "--run", str(self.before), "--cache", cache],
            [*learn, "--run", str(self.after)],
            ["pipeline.evaluate", "--run", str(self.after), "--cache", cache],
        ]

    def run(self, train: int, test: int, seed: int) -> int:
        """Run all commands, stopping at the first that fails."""
        for words in self.commands(train, test, seed):
            code = _call(words)
            if code:
                return code
        videos = [str(path) for path in self.test_videos()[:4]]
        annotations = ["--annotations", str(self.world / "annotations")]
        out = ["--out", str(self.explained)]
        return _call(["pipeline.predict", "--run", str(self.after), *videos, *annotations, *out])

    def test_videos(self) -> list[Path]:
        """Videos of the test split, by the cache's own labels."""
        paths = sorted((ROOT / self.cache).glob("*.safetensors"))
        ids = [path.stem for path in paths if ClipReader(path).header.split == "test"]
        return [self.world / "videos" / f"{video_id}.mp4" for video_id in ids]

    def report(self, seconds: float) -> None:
        """Print what came of it and which files to open."""
        before, after = (_map(ROOT / run / "metrics.json") for run in (self.before, self.after))
        print(f"\nmAP on the test split before training {before:.4f}, after {after:.4f}")
        print(f"the whole way took {seconds:.0f} s")
        for path in sorted((ROOT / self.explained).glob("*/explanation.json"))[:2]:
            tree = json.loads(path.read_text(encoding="utf-8"))
            print(f"\nwhy {tree['video']['id']} got its actions:")
            for prediction in tree["predictions"][:3]:
                print(f"  {prediction['sentence']}")
        print("\nopen:")
        for path, what in (
            (self.world / "videos", "the synthetic videos"),
            (self.after / "metrics.json", "the metrics"),
            (self.after / "per_class_ap.csv", "average precision by action"),
            (self.after / "log.jsonl", "every loss term of the training"),
            (self.explained, "one folder per explained video, with explanation.json"),
        ):
            print(f"  {path}  {what}")


def _call(words: list[str]) -> int:
    print(f"\n$ python -m {shlex.join(words)}", flush=True)
    return subprocess.run([sys.executable, "-m", *words], cwd=ROOT, check=False).returncode


def _map(path: Path) -> float:
    return float(json.loads(path.read_text(encoding="utf-8"))["map_official"])


if __name__ == "__main__":
    run_command(main)
