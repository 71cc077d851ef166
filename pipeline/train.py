"""`python -m pipeline.train`: train LaIAR on the training videos of a cache."""

import logging
from pathlib import Path

import torch

from pipeline.cache.folder import read_cache_info
from pipeline.config.loading import config_as_dict, load_config
from pipeline.errors import UsageError
from pipeline.runtime.command_line import (
    EXIT_BUDGET,
    VERIFY_HELP,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.devices import check_one_process, pick_device, use_threads
from pipeline.runtime.failures import Failures
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import only_command
from pipeline.training.job import TrainingJob, check_cache, prepare_training, training_clips
from pipeline.training.loop import Training
from pipeline.training.run_opening import open_run
from pipeline.training.state import STATE_FILE

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
    check_one_process("train")
    info = read_cache_info(args.cache)
    check_cache(config, info)
    device = pick_device(config.device)
    if args.resume and not (args.run / STATE_FILE).is_file():
        raise UsageError(
            f"--resume: {STATE_FILE} not found in {args.run}; omit --resume to start a new run"
        )
    clips, bad = training_clips(config, args.cache, verify=args.verify)
    job = prepare_training(config, info, clips, args.cache, initial=args.init_from)
    record = RunRecord(
        args.run, stage="train", config=config_as_dict(config), argv=argv, seed=config.train.seed
    )
    with only_command(args.run):
        open_run(args.run, job, config)
        with record as run:
            Failures(args.run).replace(bad, stage="train", logger=LOGGER)
            run.counts.found, run.counts.failed = len(clips) + len(bad), len(bad)
            _train(job, run, args.run, device)
    print(f"train: {run.counts}")
    print(f"evaluate with: python -m pipeline.evaluate --run {args.run} --cache {args.cache}")
    return run.exit_code


def _train(job: TrainingJob, run: RunRecord, folder: Path, device: torch.device) -> None:
    """Train and record the result, unless too many clips are unusable."""
    config, counts = job.config, run.counts
    warnings = ["RANDOM_WEIGHTS"] if job.is_random_detector else []
    if run.exit_code == EXIT_BUDGET:
        LOGGER.error("stopped: %d failures, at most %d allowed", counts.failed, config.max_failures)
    else:
        run.extra["threads"] = use_threads(config.train.threads, job.card.settings.dim, device)
        warnings += Training(job, folder, device).run()
        counts.done = counts.found - counts.failed
    if warnings:
        run.extra["warnings"] = warnings
    run.is_rejected = "DEGENERATE_SELECTION" in warnings


if __name__ == "__main__":
    run_command(main)
