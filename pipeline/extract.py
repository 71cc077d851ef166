"""`python -m pipeline.extract`: extract a folder of videos into a cache with one file per video."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path

from pipeline.cache.manifest import Manifest
from pipeline.config.loading import config_as_dict, load_config
from pipeline.datasets.checksums import read_checksums
from pipeline.datasets.video_files import Ids, VideoFile
from pipeline.engine.accounts import Accounts, look_around
from pipeline.engine.arguments import add_engine_arguments, apply_engine_arguments, make_engine
from pipeline.engine.tasks import item_names, make_tasks
from pipeline.errors import StageError
from pipeline.extraction.estimate import estimate, ignored_text, measured
from pipeline.extraction.job import (
    ExtractionJob,
    check_cache,
    open_cache,
    prepare_extraction,
)
from pipeline.runtime.command_line import EXIT_OK, Parser, common_parser, parse_words, run_command
from pipeline.runtime.failures import Failures
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import Writer

LOGGER = logging.getLogger("extract")
EXAMPLE = (
    "python -m pipeline.extract --config configs/charades.yaml --videos Charades_v1_480 "
    "--annotations annotations --cache cache/charades detection.weights=detector.safetensors"
)


def main(argv: list[str]) -> int:
    """Run the stage and return its exit code."""
    args, words = parse_words(_parser(), argv)
    config = load_config(args.config, words)
    shard = apply_engine_arguments(args, config)
    job = prepare_extraction(config, args.videos, args.annotations, Ids(args.ids))
    steps, videos = (
        job.steps(args.cache.absolute(), verify=args.verify),
        shard.choose(job.videos, args.limit),
    )
    make = partial(
        make_tasks,
        steps,
        videos,
        retry=args.retry_failed,
        annotations=job.annotations,
        folder=job.folder,
        checksums=_checksums(args.checksums, job, videos),
    )
    if args.dry_run:
        check_cache(args.cache, job.info)
        print(estimate(job, steps, make(Failures(args.cache))))
        return EXIT_OK
    engine = make_engine(args, steps)
    open_cache(args.cache, job.info)
    with _disk_errors(args.cache):
        look_around(args.cache, "extract", is_shared=shard.count > 1)
    record = RunRecord(
        args.cache,
        stage="extract",
        config=config_as_dict(config),
        argv=argv,
        seed=config.detection.seed,
        name=shard.run_name,
    )
    with _disk_errors(args.cache), Writer(args.cache), record as run:
        accounts = Accounts(run, "extract", job.folder)
        accounts.failures.keep_only(item_names(job.videos, job.folder), videos=job.folder)
        tasks, start = make(accounts.failures), time.monotonic()
        written = accounts.run(engine, tasks, config.max_failures)
        seconds = time.monotonic() - start
        Manifest(args.cache).settle(written)
        run.extra["measured"] = measured(args.cache, written, seconds)
        if job.detector.is_random:
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        run.extra |= {"detector": job.detector.to_dict(), "ignored": job.ignored}
        if job.coverage is not None:
            run.extra["annotations"] = asdict(job.coverage)
        if job.predictor is not None:
            run.extra["relation_predictor"] = job.predictor.to_dict()
    _report(run, args.cache, job)
    accounts.report()
    return run.exit_code


def _parser() -> Parser:
    parser = common_parser("python -m pipeline.extract", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--config", type=Path, default=Path("configs/charades.yaml"))
    add("--videos", type=Path, help="folder of raw videos; required unless features=none")
    add(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        help="annotation folder (repeatable)",
    )
    add("--cache", type=Path, required=True, help="output folder")
    add(
        "--verify",
        action="store_true",
        help="compare every byte of existing clips with the manifest; extract damaged ones again",
    )
    add(
        "--checksums",
        type=Path,
        help="output of sha256sum; a video with a different SHA-256 fails",
    )
    add(
        "--dry-run",
        action="store_true",
        help="print the number of videos and the estimated disk space and time; extract nothing",
    )
    add_engine_arguments(parser)
    return parser


def _checksums(path: Path | None, job: ExtractionJob, videos: list[VideoFile]) -> dict[Path, str]:
    """Return the expected SHA-256 of each video by path, and warn about unlisted videos."""
    if path is None:
        return {}
    listed = read_checksums(path, by_path=job.ids is Ids.PATH)
    names = {video.path: job.listed_name(video) for video in videos}
    unlisted = [path for path, name in names.items() if name not in listed]
    if unlisted:
        LOGGER.warning(
            "--checksums: %d of %d videos are not in the list and are not checked; first: %s",
            len(unlisted),
            len(videos),
            unlisted[0].name,
        )
    return {path: listed[name] for path, name in names.items() if name in listed}


@contextmanager
def _disk_errors(cache: Path) -> Iterator[None]:
    """Convert an OSError of the cache folder into a StageError."""
    try:
        yield
    except OSError as error:
        raise StageError(
            f"{cache} cannot be written: {error.strerror or error}; free disk space and run the "
            "same command again to resume"
        ) from error


def _report(run: RunRecord, cache: Path, job: ExtractionJob) -> None:
    counts = run.counts
    if counts.found and counts.done == counts.failed == 0 and run.exit_code == EXIT_OK:
        print(f"nothing to do: all {counts.found} videos are in {cache}")
    elif counts.done == 0 and counts.skipped + counts.failed == counts.found:
        print(f"no new clips: {counts}")
    if job.coverage is not None:
        print(job.coverage)
    if job.ignored:
        print(f"ignored, no videos: {ignored_text(job.ignored)}")


if __name__ == "__main__":
    run_command(main)
