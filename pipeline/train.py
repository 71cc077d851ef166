"""`python -m pipeline.train`: train LaIAR on the training videos of a cache."""

import logging
from pathlib import Path

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
from pipeline.runtime.devices import pick_device, use_threads
from pipeline.runtime.failures import Failures
from pipeline.runtime.run_record import RunRecord
from pipeline.training.job import check_cache, open_run, prepare_training, training_clips
from pipeline.training.loop import Training
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
    parser.add_argument("--verify", action="store_true", help=VERIFY_HELP)
    args, words = parse_words(parser, argv)
    config = load_config(args.config, words)
    info = read_cache_info(args.cache)
    check_cache(config, info)
    device = pick_device(config.device)
    if args.resume and not (args.run / STATE_FILE).is_file():
        raise UsageError(
            f"--resume: {STATE_FILE} not found in {args.run}; omit --resume to start a new run"
        )
    clips, bad = training_clips(config, args.cache, verify=args.verify)
    job = prepare_training(config, info, clips, args.cache)
    open_run(args.run, job, config)
    record = RunRecord(
        args.run, stage="train", config=config_as_dict(config), argv=argv, seed=config.train.seed
    )
    with record as run:
        run.counts.found = len(clips) + len(bad)
        run.counts.failed = len(bad)
        Failures(args.run).replace(bad, stage="train", logger=LOGGER)
        warnings = ["RANDOM_WEIGHTS"] if job.is_random_detector else []
        if run.exit_code == EXIT_BUDGET:
            LOGGER.error("stopped: %d failures, at most %d allowed", len(bad), config.max_failures)
        else:
            run.extra["threads"] = use_threads(config.train.threads, job.card.settings.dim, device)
            warnings += Training(job, args.run, device).run()
            run.counts.done = len(clips)
        if warnings:
            run.extra["warnings"] = warnings
        run.is_rejected = "DEGENERATE_SELECTION" in warnings
    print(f"train: {run.counts}")
    print(f"evaluate with: python -m pipeline.evaluate --run {args.run} --cache {args.cache}")
    return run.exit_code


if __name__ == "__main__":
    run_command(main)
