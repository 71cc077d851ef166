"""`python -m tools.demo`: run every stage of the pipeline on a small synthetic world.

The demo runs the normal commands. They generate videos, extract their features, train a network,
evaluate it before and after training, and explain four test videos. Every call deletes and rewrites
`runs/demo/`.
"""

import json
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.cache.reader import ClipReader
from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "python -m tools.demo --train 64 --test 24 --seed 0"
CONFIG = "configs/world.yaml"
#: Settings of a world that is learnable from few videos. Its 12 classes include inverse pairs.
WORLD = (
    "min_s=4",
    "max_s=6",
    "long_side=256",
    "workers=2",
    "classes=[c015,c017,c018,c026,c028,c030,c059,c106,c109,c110,c151,c154]",
)
#: An untrained network has no selection yet.
NO_SELECTION = ("model.temporal_selection=false", "model.spatial_selection=false")


def main(argv: list[str]) -> int:
    """Run the demo and return the exit code of the first command that fails, or 0."""
    parser = common_parser("python -m tools.demo", __doc__ or "", EXAMPLE)
    parser.add_argument(
        "--out",
        default="runs/demo",
        help="output folder below runs/ of the repository; an existing folder is deleted",
    )
    parser.add_argument("--train", type=int, default=64, help="number of training videos")
    parser.add_argument("--test", type=int, default=24, help="number of test videos")
    parser.add_argument("--seed", type=int, default=0)
    args, words = parse_words(parser, argv)
    out = (ROOT / args.out).resolve()
    if not out.is_relative_to(ROOT / "runs") or out == ROOT / "runs":
        raise UsageError(
            f"--out: a folder below runs/ expected, got {args.out}; the demo deletes it"
        )
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    start, folder = time.time(), out.relative_to(ROOT)
    for command in commands(folder, args, words):
        print(f"\n$ python -m {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        if code:
            return code
    report(folder, time.time() - start)
    return EXIT_OK


def commands(out: Path, args: Any, words: list[str]) -> Iterator[list[str]]:
    """Yield the commands of the demo in order.

    The last command explains videos of the cache, so its arguments are known only after extraction.
    """
    world, cache, before, after = (
        f"{out}/{name}" for name in ("world", "cache", "untrained", "trained")
    )
    numbers = ["--train", str(args.train), "--test", str(args.test), "--seed", str(args.seed)]
    data = ["--videos", f"{world}/videos", "--annotations", f"{world}/annotations"]
    # With so few videos, smaller batches give enough steps.
    learn = ["pipeline.train", "--config", CONFIG, "--cache", cache, "train.batch_size=8", *words]
    yield ["tools.synthesize", "--out", world, *numbers, *WORLD]
    yield ["pipeline.extract", "--config", CONFIG, *data, "--cache", cache, *words]
    yield [*learn, "--run", before, "train.epochs=0", *NO_SELECTION]
    yield ["pipeline.evaluate", "--run", before, "--cache", cache]
    yield [*learn, "--run", after]
    yield ["pipeline.evaluate", "--run", after, "--cache", cache]
    paths = sorted((ROOT / cache).glob("*.safetensors"))
    ids = [path.stem for path in paths if ClipReader(path).header.split == "test"]
    videos = [f"{world}/videos/{video_id}.mp4" for video_id in ids[:4]]
    explain = ["--annotations", f"{world}/annotations", "--out", f"{out}/explained"]
    yield ["pipeline.predict", "--run", after, *videos, *explain]


def report(out: Path, seconds: float) -> None:
    """Print the results and the main output files."""
    before, after = (_metrics(ROOT / out / run) for run in ("untrained", "trained"))
    print(
        f"\nmAP on the test split before training {before['map_official']:.4f}, after "
        f"{after['map_official']:.4f}"
    )
    order = after.get("inverse_pairs")
    if order and order["cases"]:
        print(
            f"inverse actions, {order['cases']} cases: accuracy {order['accuracy']:.4f}, flips of "
            f"the reversed videos {order['flips']:.4f}"
        )
    print(f"all commands took {seconds:.0f} s")
    for path in sorted((ROOT / out / "explained").glob("*/explanation.json"))[:2]:
        tree = json.loads(path.read_text(encoding="utf-8"))
        print(f"\nexplanation of {tree['video']['id']}:")
        for prediction in tree["predictions"][:3]:
            print(f"  {prediction['sentence']}")
    print("\noutput files:")
    for name, what in (
        ("world/videos", "the synthetic videos"),
        ("trained/metrics.json", "the metrics"),
        ("trained/per_class_ap.csv", "average precision by action"),
        ("trained/log.jsonl", "every loss term of the training run"),
        ("explained", "one folder per explained video, with explanation.json and report.html"),
    ):
        print(f"  {out / name}  {what}")
    print(f"\nopen: {out / 'explained' / 'gallery.html'}")


def _metrics(run: Path) -> dict[str, Any]:
    tree: dict[str, Any] = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    return tree


if __name__ == "__main__":
    run_command(main)
