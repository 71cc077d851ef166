"""`python -m tools.synthesize`: generate videos and annotations of a synthetic world.

The annotations have the file formats of Charades and Action Genome. The settings are the fields of
`Settings` in tools/world/script.py and `workers` (number of processes).
"""

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

from omegaconf import OmegaConf
from tqdm import tqdm

from pipeline.errors import UsageError
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command
from pipeline.runtime.files import write_atomically
from tools.world.cast import NUM_TEST, NUM_TRAIN
from tools.world.plot import NoPlotError
from tools.world.preview import write_previews
from tools.world.record import VERSION, make_video
from tools.world.release import write_release
from tools.world.rules import load_rules
from tools.world.script import Settings

EXAMPLE = "python -m tools.synthesize --out world --train 400 --test 100 --seed 0 workers=2"
_PARTS, _MADE_FROM = ".parts", "made_from.json"


@dataclass(frozen=True)
class Words:
    """Settings of the command, passed as `key=value` arguments."""

    shift: float = 1.0
    relation_noise: float = 0.0
    min_s: float = 4.0
    max_s: float = 12.0
    long_side: int = 480
    actors: int = NUM_TRAIN + NUM_TEST
    classes: list[str] = field(default_factory=list)
    duplicates: float = 0.0
    workers: int = 1


def main(argv: list[str]) -> int:
    """Write `OUT/videos/ID.mp4` and `OUT/annotations/`, and return the exit code."""
    parser = common_parser("python -m tools.synthesize", __doc__ or "", EXAMPLE)
    parser.add_argument("--out", type=Path, help="output folder; an interrupted run resumes")
    parser.add_argument("--train", type=int, default=400, help="number of training videos")
    parser.add_argument(
        "--test", type=int, default=100, help="number of test videos, which have other actors"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--preview",
        type=Path,
        help="folder for contact sheets of at most 12 training videos, instead of --out",
    )
    args, words = parse_words(parser, argv)
    given = _settings(words)
    settings, sizes = _checked(given, args.seed), {"train": args.train, "test": args.test}
    if min(args.train, args.test, args.seed) < 0 or args.train + args.test == 0:
        raise UsageError(
            "--train, --test, --seed: numbers of at least 0 and at least one video expected"
        )
    if (args.out is None) == (args.preview is None):
        raise UsageError(
            "exactly one of --out DIR (world) and --preview DIR (contact sheets) expected"
        )
    try:
        if args.preview is not None:
            for path in write_previews(settings, min(args.train, 12), args.preview):
                print(path)
            return EXIT_OK
        write_world(args.out, sizes, settings, given.workers)
    except NoPlotError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        where = args.out or args.preview
        raise UsageError(
            f"{where}: {error.strerror or error}; fix this and run the same command again to resume"
        ) from error
    print(f"{args.train + args.test} videos in {args.out / 'videos'}")
    print(f"annotations in {args.out / 'annotations'}")
    return EXIT_OK


def write_world(out: Path, sizes: dict[str, int], settings: Settings, workers: int) -> None:
    """Write a world, or resume an interrupted run.

    Args:
        out: folder of the world.
        sizes: number of videos per split.
        settings: settings of the world.
        workers: number of processes.

    Raises:
        UsageError: if the folder contains another world or other files.
    """
    tree = {"version": VERSION, "settings": asdict(settings), "sizes": sizes}
    made_from, known = json.loads(json.dumps(tree)), out / _MADE_FROM
    if known.is_file():
        found = json.loads(known.read_text(encoding="utf-8"))
        if found != made_from:
            raise UsageError(
                f"--out: {out} contains another world: {_difference(found, made_from)}"
            )
        if (out / "annotations" / "world.json").is_file():
            return
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"--out: a new or empty folder expected, got {out}")
    videos, parts = out / "videos", out / _PARTS
    videos.mkdir(parents=True, exist_ok=True)
    parts.mkdir(exist_ok=True)
    write_atomically(known, (json.dumps(made_from, indent=2) + "\n").encode())
    for left in videos.glob(".*.tmp.mp4"):
        left.unlink()
    jobs = [(split, index) for split, num in sizes.items() for index in range(num)]
    made = _make(settings, jobs, videos, parts, workers)
    ids = dict(tqdm(made, total=len(jobs), desc="synthesize", unit="video", disable=None))
    records = [json.loads((parts / f"{ids[job]}.json").read_text(encoding="utf-8")) for job in jobs]
    write_release(load_rules(), settings, sizes, records, out / "annotations")
    shutil.rmtree(parts)


def _make(
    settings: Settings, jobs: list[tuple[str, int]], videos: Path, parts: Path, workers: int
) -> Iterator[tuple[tuple[str, int], str]]:
    if workers == 1:
        for job in jobs:
            yield job, make_video(settings, *job, videos, parts)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        try:
            started = {pool.submit(make_video, settings, *job, videos, parts): job for job in jobs}
            for done in as_completed(started):
                yield started[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _settings(words: list[str]) -> Words:
    try:
        tree = OmegaConf.merge(OmegaConf.structured(Words), OmegaConf.from_dotlist(words))
        made = OmegaConf.to_object(tree)
    except Exception as error:
        known = ", ".join(f.name for f in fields(Words))
        first = str(error).splitlines()[0]
        raise UsageError(
            f"a setting key=value with one of the keys {known} expected: {first}"
        ) from error
    assert isinstance(made, Words)
    return made


def _checked(words: Words, seed: int) -> Settings:
    rules = load_rules()
    unknown = sorted(set(words.classes) - set(rules.action_ids))
    if unknown:
        raise UsageError(f"classes: ids of configs/world/actions.yaml expected, got {unknown[0]!r}")
    limits = {
        "shift": (0.0, 2.0),
        "relation_noise": (0.0, 1.0),
        "min_s": (2.0, 600.0),
        "max_s": (words.min_s, 600.0),
        "long_side": (128, 1920),
        "actors": (2, NUM_TRAIN + NUM_TEST),
        "duplicates": (0.0, 1.0),
        "workers": (1, 256),
    }
    for name, (low, high) in limits.items():
        value = getattr(words, name)
        if not low <= value <= high:
            raise UsageError(f"{name}: {low} to {high} expected, got {value}")
    given = {name: value for name, value in vars(words).items() if name != "workers"}
    given |= {"long_side": words.long_side // 32 * 32, "classes": tuple(sorted(words.classes))}
    return Settings(seed=seed, **given)


def _difference(found: dict[str, object], wanted: dict[str, object]) -> str:
    for key in wanted:
        old, new = found.get(key), wanted[key]
        if old != new and isinstance(old, dict) and isinstance(new, dict):
            name = next(k for k in new if old.get(k) != new[k])
            return f"{name}={old.get(name)}, not {name}={new[name]}; use another folder"
    return f"version {found.get('version')}, not {wanted['version']}; use another folder"


if __name__ == "__main__":
    run_command(main)
