"""`python -m pipeline.train`: train LaIAR on the training videos of a cache."""

import logging
from argparse import Namespace
from pathlib import Path

from pipeline.cache.folder import read_cache_info
from pipeline.config.loading import config_as_dict, load_config
from pipeline.config.schema import Config
from pipeline.errors import UsageError
from pipeline.runtime.command_line import (
    EXIT_BUDGET,
    VERIFY_HELP,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.devices import use_threads
from pipeline.runtime.failures import Failures
from pipeline.runtime.run_record import RunRecord
from pipeline.training.laiar.cache_check import check_cache
from pipeline.training.laiar.finishing import finish, is_finished
from pipeline.training.laiar.job import TrainingJob, prepare_training, training_clips
from pipeline.training.laiar.run_opening import open_run
from pipeline.training.laiar.task import LaIARTask
from pipeline.training.processes import Processes, join_processes, training_run
from pipeline.training.state import STATE_FILE
from pipeline.training.trainer import Trainer

LOGGER = logging.getLogger("train")
EXAMPLE = (
    "python -m pipeline.train --config configs/charades_oracle.yaml --cache cache/oracle "
    "--run runs/oracle"
)


def main(argv: list[str]) -> int:
    """Run the stage and return its exit code."""
    parser = common_parser("python -m pipeline.train", __doc__ or "", EXAMPLE)
    parser.add_argument("--config", type=Path, default=Path("configs/charades_oracle.yaml"))
    parser.add_argument("--cache", type=Path, required=True, help="cache of pipeline.extract")
    parser.add_argument("--run", type=Path, required=True, help="output folder")
    parser.add_argument(
        "--resume",
        action="store_true",
        help="fail if --run contains no checkpoint; an existing checkpoint is always resumed",
    )
    parser.add_argument(
        "--init-from",
        type=Path,
        help="run folder of pipeline.train; a new run starts with the weights of its network",
    )
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, words = parse_words(parser, argv)
    config = load_config(args.config, words)
    with join_processes(config.device) as processes:
        return _run(args, argv, config, processes)


def _run(args: Namespace, argv: list[str], config: Config, processes: Processes) -> int:
    info = read_cache_info(args.cache)
    check_cache(config, info)
    if args.resume and not (args.run / STATE_FILE).is_file():
        raise UsageError(
            f"--resume: {STATE_FILE} not found in {args.run}; omit --resume to start a new run"
        )
    clips, bad = training_clips(config, args.cache, info, verify=args.verify)
    job = prepare_training(config, info, clips, args.cache, initial=args.init_from)
    record = RunRecord(
        args.run, stage="train", config=config_as_dict(config), argv=argv, seed=config.train.seed
    )
    record.counts.found, record.counts.failed = len(clips) + len(bad), len(bad)
    with training_run(processes, record, lambda: open_run(args.run, job, config)):
        if processes.is_first:
            Failures(args.run).replace(bad, stage="train", logger=LOGGER)
        _train(job, record, args.run, processes)
    if processes.is_first:
        print(f"train: {record.counts}")
        print(f"evaluate with: python -m pipeline.evaluate --run {args.run} --cache {args.cache}")
    return record.exit_code


def _train(job: TrainingJob, run: RunRecord, folder: Path, processes: Processes) -> None:
    """Train and record the result, unless too many clips are unusable."""
    config, counts = job.config, run.counts
    warnings = ["RANDOM_WEIGHTS"] if job.is_random_detector else []
    if run.exit_code == EXIT_BUDGET:
        LOGGER.error("stopped: %d failures, at most %d allowed", counts.failed, config.max_failures)
    else:
        width = job.card.settings.dim
        run.extra["threads"] = use_threads(config.train.threads, width, processes.device)
        task = LaIARTask(job, folder, processes.device)
        trainer = Trainer(task, config.train, folder, job.fingerprint, processes)
        trainer.open()
        if processes.is_first and trainer.is_done and is_finished(job, folder):
            print(f"nothing to do: all {config.train.epochs} epochs of {folder} are finished")
        progress = trainer.run()
        if processes.is_first:
            warnings += finish(task, progress.best)
        counts.done = counts.found - counts.failed
    if warnings:
        run.extra["warnings"] = warnings
    run.is_rejected = "DEGENERATE_SELECTION" in warnings


if __name__ == "__main__":
    run_command(main)
