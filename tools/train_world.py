"""`python -m tools.train_world`: train the network of `configs/runs/world/`.

The command generates videos of the synthetic world, extracts their features with the included
detector, trains a network on detected boxes with annotated relations, and copies the files that
predictions require to `--run`. An interrupted command resumes when it is run again.
"""

import argparse
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from safetensors.torch import load_file, save

from pipeline.predictor import WORLD
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.runtime.files import write_atomically
from pipeline.weights.run_folder import BANK, RUN_FILES, WEIGHTS

ROOT = Path(__file__).resolve().parent.parent
CONFIG = "configs/world.yaml"
EXAMPLE = "python -m tools.train_world --out runs/train_world --seed 0"


def main(argv: list[str]) -> int:
    """Run all commands and return the exit code of the first that fails, or 0."""
    parser = common_parser("python -m tools.train_world", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--out", type=Path, required=True, help="folder of the videos, the cache and the run")
    add("--run", type=Path, default=WORLD, help="folder of the copied files (default: %(default)s)")
    add("--train", type=int, default=600, help="number of training videos")
    add("--seed", type=int, default=0)
    args, words = parse_words(parser, argv)
    for command in commands(args, words):
        print(f"\n$ python -m {shlex.join(command)}", flush=True)
        code = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, check=False).returncode
        if code:
            return code
    copy_run(args.out / "run", args.run)
    return EXIT_OK


def commands(args: argparse.Namespace, words: list[str]) -> Iterator[list[str]]:
    """Yield the commands in order. The words are added to the training command."""
    out, config = args.out.resolve(), ["--config", CONFIG]
    world, cache, seed = out / "world", ["--cache", f"{out / 'cache'}"], str(args.seed)
    sizes = ["--train", str(args.train), "--test", "1", "--seed", seed]
    data = ["--videos", f"{world / 'videos'}", "--annotations", f"{world / 'annotations'}"]
    yield ["tools.synthesize", "--out", f"{world}", *sizes, "workers=2"]
    fixed = ["relations=ground-truth", "detection.mode=folded"]
    yield ["pipeline.extract", *config, *data, *cache, *fixed]
    settings = ["relations=ground-truth", "train.token_price=0.05", f"train.seed={seed}", *words]
    yield ["pipeline.train", *config, *cache, "--run", f"{out / 'run'}", *settings]


def copy_run(run: Path, to: Path) -> None:
    """Copy the files of a run folder that predictions require.

    The weights and the label bank are stored in float16.
    """
    to.mkdir(parents=True, exist_ok=True)
    for name in RUN_FILES:
        shutil.copyfile(run / name, to / name)
    for name in (WEIGHTS, BANK):
        arrays = load_file(run / name)
        half = {n: v.half() if v.is_floating_point() else v for n, v in arrays.items()}
        write_atomically(to / name, save(half))
    size = sum((to / name).stat().st_size for name in RUN_FILES)
    print(f"{len(RUN_FILES)} files with {size / 1e6:.1f} MB in {to}")


if __name__ == "__main__":
    run_command(main)
