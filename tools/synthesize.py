"""`python -m tools.synthesize`: a small synthetic world in the formats of Charades."""

import shutil
from pathlib import Path

from tqdm import tqdm

from pipeline.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.errors import UsageError
from pipeline.vocabulary import load_vocabulary
from tools.world.release import ReleaseWriter, write_video
from tools.world.rules import load_rules
from tools.world.script import write_script

EXAMPLE = "python -m tools.synthesize --out world --train 32 --test 16 --seed 0"


def main(argv: list[str]) -> int:
    """Write `OUT/videos/ID.mp4` and `OUT/annotations/`; returns the exit code."""
    parser = common_parser("python -m tools.synthesize", __doc__ or "", EXAMPLE)
    parser.add_argument("--out", type=Path, required=True, help="folder to write; new or empty")
    parser.add_argument("--train", type=int, default=32, help="training videos")
    parser.add_argument("--test", type=int, default=16, help="test videos, of unseen actors")
    parser.add_argument("--seed", type=int, default=0)
    args, words = parse_words(parser, argv)
    if words:
        raise UsageError(f"no key=value settings expected, got {words[0]!r}")
    if min(args.train, args.test, args.seed) < 0 or args.train + args.test == 0:
        raise UsageError("--train, --test, --seed: numbers from 0 on expected, and some video")
    if args.out.exists() and (not args.out.is_dir() or any(args.out.iterdir())):
        raise UsageError(f"--out: a new or empty folder expected, {args.out} is none")
    try:
        write_world(args.out, {"train": args.train, "test": args.test}, args.seed)
    except OSError as error:
        raise UsageError(f"--out: {args.out}: {error.strerror or error}") from error
    print(f"{args.train + args.test} videos in {args.out / 'videos'}")
    print(f"annotations in {args.out / 'annotations'}")
    return EXIT_OK


def write_world(out: Path, sizes: dict[str, int], seed: int) -> None:
    """Write a world; what was written is removed again if it cannot be finished."""
    rules = load_rules()
    writer = ReleaseWriter(rules, load_vocabulary("action_genome"))
    videos = out / "videos"
    videos.mkdir(parents=True, exist_ok=True)
    scripts = [
        write_script(rules, seed, split, index)
        for split, num in sizes.items()
        for index in range(num)
    ]
    try:
        for script in tqdm(scripts, desc="synthesize", unit="video", disable=None):
            writer.add(script, write_video(script, videos / f"{script.video_id}.mp4"))
        writer.write(out / "annotations")
    except BaseException:
        shutil.rmtree(videos, ignore_errors=True)
        shutil.rmtree(out / "annotations", ignore_errors=True)
        raise


if __name__ == "__main__":
    run_command(main)
