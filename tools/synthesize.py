"""`python -m tools.synthesize`: generate videos and annotations of a synthetic world.

With `--format charades`, the annotations have the file formats of Charades and Action Genome, and
the settings are the fields of `Settings` in tools/world/script.py and `workers` (number of
processes). With `--format cad120`, the frames have the layout of CAD-120, the annotations have the
file formats of EVAR, and the settings are the fields of `Cad120Words`.
"""

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import TypeVar

from omegaconf import OmegaConf

from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from tools.world.cad120 import preview as cad120_preview
from tools.world.cad120.release import ANNOTATIONS, FRAMES, write_cad120
from tools.world.cad120.rules import load_cad120
from tools.world.cad120.script import World
from tools.world.cast import NUM_TEST, NUM_TRAIN
from tools.world.folder import Plan, Record, write_folder
from tools.world.plot import NoPlotError
from tools.world.preview import write_previews
from tools.world.record import VERSION, make_video
from tools.world.release import write_release
from tools.world.rules import load_rules
from tools.world.script import Settings

EXAMPLE = "python -m tools.synthesize --out world --train 400 --test 100 --seed 0 workers=2"
_FORMATS = ("charades", "cad120")
_MOST_PREVIEWS = 12


@dataclass(frozen=True)
class Words:
    """Settings of a world in the form of Charades, passed as `key=value` arguments."""

    shift: float = 1.0
    relation_noise: float = 0.0
    min_s: float = 4.0
    max_s: float = 12.0
    long_side: int = 480
    actors: int = NUM_TRAIN + NUM_TEST
    classes: list[str] = field(default_factory=list)
    duplicates: float = 0.0
    workers: int = 1


@dataclass(frozen=True)
class Cad120Words:
    """Settings of a world in the form of CAD-120, passed as `key=value` arguments.

    Attributes:
        videos: number of videos per subject.
        long_side: width of the frames in pixels.
        workers: number of processes.
    """

    videos: int = 25
    long_side: int = 320
    workers: int = 1


WordsT = TypeVar("WordsT", Words, Cad120Words)


def main(argv: list[str]) -> int:
    """Write a world, or contact sheets of it, and return the exit code."""
    parser = common_parser("python -m tools.synthesize", __doc__ or "", EXAMPLE)
    parser.add_argument("--out", type=Path, help="output folder; an interrupted run resumes")
    parser.add_argument(
        "--format", choices=_FORMATS, default=_FORMATS[0], help="form of the world (charades)"
    )
    parser.add_argument("--train", type=int, help="number of training videos (400)")
    parser.add_argument(
        "--test", type=int, help="number of test videos, which have other actors (100)"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--preview",
        type=Path,
        help="folder for contact sheets of at most 12 videos, instead of --out",
    )
    args, words = parse_words(parser, argv)
    run = _charades if args.format == "charades" else _cad120
    try:
        run(args, words)
    except NoPlotError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        where = args.out or args.preview
        raise UsageError(
            f"{where}: {error.strerror or error}; fix this and run the same command again to resume"
        ) from error
    return EXIT_OK


def _charades(args: argparse.Namespace, words: list[str]) -> None:
    given = _settings(Words, words)
    settings = _checked(given, args.seed)
    sizes = {
        "train": 400 if args.train is None else args.train,
        "test": 100 if args.test is None else args.test,
    }
    if min(*sizes.values(), args.seed) < 0 or sum(sizes.values()) == 0:
        raise UsageError(
            "--train, --test, --seed: numbers of at least 0 and at least one video expected"
        )
    _check_folders(args)
    if args.preview is not None:
        _print(write_previews(settings, min(sizes["train"], _MOST_PREVIEWS), args.preview))
        return
    write_world(args.out, sizes, settings, given.workers)
    print(f"{sum(sizes.values())} videos in {args.out / 'videos'}")
    print(f"annotations in {args.out / 'annotations'}")


def _cad120(args: argparse.Namespace, words: list[str]) -> None:
    given = _settings(Cad120Words, words)
    _check_ranges(given, {"videos": (1, 1000), "long_side": (128, 1920), "workers": (1, 256)})
    if args.train is not None or args.test is not None:
        raise UsageError(
            "--train, --test: not with --format cad120; set the number of videos per subject with "
            "videos=N, and the test subject with fold=K in training and evaluation"
        )
    if args.seed < 0:
        raise UsageError(f"--seed: a number of at least 0 expected, got {args.seed}")
    _check_folders(args)
    world = World(args.seed, given.videos, given.long_side // 32 * 32)
    num = given.videos * len(load_cad120().subjects)
    if args.preview is not None:
        _print(cad120_preview.write_previews(world, min(num, _MOST_PREVIEWS), args.preview))
        return
    write_cad120(args.out, world, given.workers)
    print(f"{num} videos in {args.out / FRAMES}")
    print(f"annotations in {args.out / ANNOTATIONS}")


def write_world(out: Path, sizes: dict[str, int], settings: Settings, workers: int) -> None:
    """Write a world in the form of Charades, or resume an interrupted run.

    Args:
        out: folder of the world.
        sizes: number of videos per split.
        settings: settings of the world.
        workers: number of processes.

    Raises:
        UsageError: if the folder contains another world or other files.
    """

    def release(records: list[Record]) -> None:
        write_release(load_rules(), settings, sizes, records, out / "annotations")

    plan = Plan(
        made_from={"version": VERSION, "settings": asdict(settings), "sizes": sizes},
        videos="videos",
        last="annotations/world.json",
        jobs=[(split, index) for split, num in sizes.items() for index in range(num)],
        make=partial(make_video, settings),
        release=release,
    )
    write_folder(out, plan, workers)


def _check_folders(args: argparse.Namespace) -> None:
    if (args.out is None) == (args.preview is None):
        raise UsageError(
            "exactly one of --out DIR (world) and --preview DIR (contact sheets) expected"
        )


def _print(paths: Iterator[Path]) -> None:
    for path in paths:
        print(path)


def _settings(kind: type[WordsT], words: list[str]) -> WordsT:
    try:
        tree = OmegaConf.merge(OmegaConf.structured(kind), OmegaConf.from_dotlist(words))
        made = OmegaConf.to_object(tree)
    except Exception as error:
        known = ", ".join(f.name for f in fields(kind))
        first = str(error).splitlines()[0]
        raise UsageError(
            f"a setting key=value with one of the keys {known} expected: {first}"
        ) from error
    assert isinstance(made, kind)
    return made


def _checked(words: Words, seed: int) -> Settings:
    rules = load_rules()
    unknown = sorted(set(words.classes) - set(rules.action_ids))
    if unknown:
        raise UsageError(f"classes: ids of configs/world/actions.yaml expected, got {unknown[0]!r}")
    limits: dict[str, tuple[float, float]] = {
        "shift": (0.0, 2.0),
        "relation_noise": (0.0, 1.0),
        "min_s": (2.0, 600.0),
        "max_s": (words.min_s, 600.0),
        "long_side": (128, 1920),
        "actors": (2, NUM_TRAIN + NUM_TEST),
        "duplicates": (0.0, 1.0),
        "workers": (1, 256),
    }
    _check_ranges(words, limits)
    given = {name: value for name, value in vars(words).items() if name != "workers"}
    given |= {"long_side": words.long_side // 32 * 32, "classes": tuple(sorted(words.classes))}
    return Settings(seed=seed, **given)


def _check_ranges(words: Words | Cad120Words, limits: dict[str, tuple[float, float]]) -> None:
    for name, (low, high) in limits.items():
        value = getattr(words, name)
        if not low <= value <= high:
            raise UsageError(f"{name}: {low} to {high} expected, got {value}")


if __name__ == "__main__":
    run_command(main)
