"""`python -m pipeline.extract`: extract a folder of videos into a cache with one file per video."""

import argparse
import logging
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.cache.manifest import settle_manifest
from pipeline.config.loading import config_as_dict, load_config
from pipeline.datasets.checksums import read_checksums
from pipeline.datasets.video_files import Ids, VideoFile
from pipeline.errors import StageError, UsageError
from pipeline.extraction.cluster import RayEngine
from pipeline.extraction.estimate import estimate, ignored_text, measured
from pipeline.extraction.job import (
    ExtractionJob,
    check_cache,
    item_names,
    make_tasks,
    open_cache,
    prepare_extraction,
)
from pipeline.extraction.local import LocalEngine
from pipeline.extraction.shard import Shard, parse_shard
from pipeline.extraction.steps import Networks, Outcome, Steps
from pipeline.runtime.command_line import EXIT_OK, Parser, common_parser, parse_words, run_command
from pipeline.runtime.devices import pick_devices
from pipeline.runtime.failures import Failures, log_failure
from pipeline.runtime.progress import Progress
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import Writer, living_writers, sweep_temporary_files

LOGGER = logging.getLogger("extract")
EXAMPLE = (
    "python -m pipeline.extract --config configs/charades.yaml --videos Charades_v1_480 "
    "--annotations annotations --cache cache/charades detection.weights=detector.safetensors"
)


def main(argv: list[str]) -> int:
    """Run the stage and return its exit code."""
    args, words = parse_words(_parser(), argv)
    config = load_config(args.config, words)
    if args.max_failures is not None:
        config.max_failures = args.max_failures
    _check(args)
    shard = parse_shard(args.shard) if args.shard else Shard()
    job = prepare_extraction(config, args.videos, args.annotations, Ids(args.ids))
    steps = job.steps(args.cache, verify=args.verify)
    checksums = (
        read_checksums(args.checksums, by_path=args.ids == Ids.PATH) if args.checksums else {}
    )
    if args.dry_run:
        check_cache(args.cache, job.info)
        failures, chosen = Failures(args.cache), _chosen(job, shard, args.limit)
        make = partial(make_tasks, retry=args.retry_failed, checksums=checksums)
        print(estimate(job, steps, list(make(job, steps, chosen, failures))))
        return EXIT_OK
    open_cache(args.cache, job.info)
    with _disk_errors(args.cache):
        _look_around(args.cache, is_shared=shard.count > 1)
    record = RunRecord(
        args.cache,
        stage="extract",
        config=config_as_dict(config),
        argv=argv,
        seed=config.detection.seed,
        name=shard.run_name,
    )
    with _disk_errors(args.cache), Writer(args.cache), record as run:
        Extraction(job, steps, run, _chosen(job, shard, args.limit)).run(
            _engine(args, job, steps), retry=args.retry_failed, checksums=checksums
        )
        if job.detector.is_random:
            run.extra["warnings"] = ["RANDOM_WEIGHTS"]
        run.extra |= {"detector": job.detector.to_dict(), "ignored": job.ignored}
        if job.coverage is not None:
            run.extra["annotations"] = asdict(job.coverage)
        if job.predictor is not None:
            run.extra["relation_predictor"] = job.predictor.to_dict()
    _report(run, args.cache, job)
    return run.exit_code


def _parser() -> Parser:
    parser = common_parser("python -m pipeline.extract", __doc__ or "", EXAMPLE)
    add = parser.add_argument
    add("--config", type=Path, default=Path("configs/charades.yaml"))
    add("--videos", type=Path, required=True, help="folder of raw videos")
    add(
        "--annotations",
        type=Path,
        action="append",
        default=[],
        help="annotation folder (repeatable)",
    )
    add("--cache", type=Path, required=True, help="output folder")
    add(
        "--ids",
        choices=[*Ids],
        default=Ids.NAME,
        help="make the ids of the videos from their file names, or from their paths relative to "
        "--videos (default: %(default)s)",
    )
    add(
        "--max-failures",
        type=int,
        help="stop with exit code 3 after more failures than this (default: no limit)",
    )
    add("--retry-failed", action="store_true", help="extract previously failed videos again")
    add(
        "--verify",
        action="store_true",
        help="compare every byte of existing clips with the manifest; extract damaged ones again",
    )
    add("--limit", type=int, help="extract only the first LIMIT videos")
    add(
        "--checksums",
        type=Path,
        help="output of sha256sum; a video with a different SHA-256 fails",
    )
    add(
        "--shard",
        help="i/N extracts part i of N, for N commands on one cache; slurm reads i and N from the "
        "SLURM job array",
    )
    add(
        "--dry-run",
        action="store_true",
        help="print the number of videos and the estimated disk space and time; extract nothing",
    )
    add(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="run on this machine or on a Ray cluster (default: %(default)s)",
    )
    add("--address", help="address of a running Ray cluster (default: start Ray on this machine)")
    add("--actors", type=int, help="number of Ray actors (default: as many as the cluster can run)")
    add(
        "--time-limit", type=float, help="time limit per video in seconds, with Ray (default: 3600)"
    )
    return parser


def _check(args: argparse.Namespace) -> None:
    for name in ("limit", "actors", "time_limit"):
        value = getattr(args, name)
        if value is not None and not value > 0:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag}: a number above 0 expected, got {value}")
    if args.max_failures is not None and args.max_failures < 0:
        raise UsageError(f"--max-failures: 0 or more expected, got {args.max_failures}")
    if args.engine != "ray" and (args.address or args.actors or args.time_limit):
        raise UsageError(
            "--address, --actors and --time-limit require --engine ray, got --engine local"
        )


def _engine(args: argparse.Namespace, job: ExtractionJob, steps: Steps) -> LocalEngine | RayEngine:
    if args.engine == "ray":
        return RayEngine(
            steps, address=args.address, actors=args.actors, time_limit_s=args.time_limit or 3600.0
        )
    return LocalEngine(steps, [Networks(steps, d) for d in pick_devices(job.config.device)])


def _chosen(job: ExtractionJob, shard: Shard, limit: int | None) -> list[VideoFile]:
    return [video for video in job.videos if shard.has(video.video_id)][:limit]


def _look_around(cache: Path, *, is_shared: bool) -> None:
    """Remove leftover temporary files and warn about other processes that write to the cache."""
    for path in sweep_temporary_files(cache):
        LOGGER.info("removed %s, a leftover temporary file of a killed run", path.name)
    others = living_writers(cache)
    if others and not is_shared:
        LOGGER.warning(
            "%d other processes write to %s (%s); without --shard, a video may be extracted twice",
            len(others),
            cache,
            ", ".join(others),
        )


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


class Extraction:
    """One extraction run, which counts outcomes and records failures.

    Args:
        job: inputs of the extraction.
        steps: steps of each video.
        run: record of the run; its counts are updated.
        videos: videos to extract, a subset of the videos of the job.
    """

    def __init__(
        self, job: ExtractionJob, steps: Steps, run: RunRecord, videos: list[VideoFile]
    ) -> None:
        self.job, self.steps, self.run_record, self.videos = job, steps, run, videos
        self.failures = Failures(steps.cache)

    def run(
        self, engine: LocalEngine | RayEngine, *, retry: bool, checksums: dict[str, str]
    ) -> None:
        """Extract the videos.

        The extraction stops after more than `max_failures` failures.

        Args:
            engine: engine that extracts the tasks.
            retry: whether to extract previously failed videos again.
            checksums: mapping from the listed name of a video to its expected SHA-256.
        """
        counts, budget = self.run_record.counts, self.job.config.max_failures
        unlisted = [v for v in self.videos if self.job.listed_name(v) not in checksums]
        if checksums and unlisted:
            LOGGER.warning(
                "--checksums: %d of %d videos are not in the list and are not checked; first: %s",
                len(unlisted),
                len(self.videos),
                unlisted[0].path.name,
            )
        counts.found = len(self.videos)
        self.failures.keep_only(item_names(self.job), videos=self.job.folder)
        make = partial(make_tasks, retry=retry, checksums=checksums)
        tasks = list(make(self.job, self.steps, self.videos, self.failures))
        written: dict[str, dict[str, Any]] = {}
        start = time.monotonic()
        with Progress(counts, "extract") as progress, closing(engine.run(tasks)) as outcomes:
            for outcome in outcomes:
                self._account(outcome)
                if outcome.row is not None:
                    written[outcome.item] = outcome.row
                progress.update()
                if budget is not None and counts.failed > budget:
                    LOGGER.error("stopped: %d failures, at most %d allowed", counts.failed, budget)
                    break
            else:
                counts.check()
        seconds = time.monotonic() - start
        settle_manifest(self.steps.cache, written)
        self.run_record.extra["measured"] = measured(self.steps.cache, written, seconds)

    def _account(self, outcome: Outcome) -> None:
        counts = self.run_record.counts
        setattr(counts, outcome.status, getattr(counts, outcome.status) + 1)
        if outcome.error is not None:
            log_failure(LOGGER, outcome.item, outcome.error)
            self.failures.add(
                outcome.item,
                outcome.error,
                stage="extract",
                sha256=outcome.sha256,
                fingerprint=outcome.failure_fingerprint,
                videos=self.job.folder,
            )
        elif outcome.status != "failed":
            self.failures.remove(outcome.item)


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
    print(f"extract: {counts}")
    if counts.failed:
        print(f"failures: {cache / 'failures.jsonl'}; use --retry-failed to try them again")


if __name__ == "__main__":
    run_command(main)
