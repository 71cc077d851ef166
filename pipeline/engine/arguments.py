"""Arguments that commands with an engine have in common."""

import argparse

from pipeline.datasets.video_files import Ids
from pipeline.engine.local import LocalEngine
from pipeline.engine.ray import RayEngine
from pipeline.engine.shard import Shard, parse_shard
from pipeline.engine.stage import EngineConfig, FoundT, ResultT, Stage
from pipeline.errors import UsageError
from pipeline.runtime.command_line import Parser
from pipeline.runtime.devices import pick_devices


def add_engine_arguments(parser: Parser) -> None:
    """Add the arguments that select the videos and the engine."""
    add = parser.add_argument
    add(
        "--ids",
        choices=[ids.value for ids in Ids],
        default=Ids.NAME,
        help="make the ids of the videos from their file names, or from their paths relative to "
        "their folder of videos (default: %(default)s)",
    )
    add(
        "--max-failures",
        type=int,
        help="stop with exit code 3 after more failures than this (default: no limit)",
    )
    add("--retry-failed", action="store_true", help="process previously failed videos again")
    add("--limit", type=int, help="process only the first LIMIT videos")
    add(
        "--shard",
        help="i/N processes part i of N, for N commands on one output folder; slurm reads i and N "
        "from the SLURM job array",
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


def apply_engine_arguments(args: argparse.Namespace, config: EngineConfig) -> Shard:
    """Check the arguments, set `max_failures` and return the part of the videos to process.

    Raises:
        UsageError: if an argument is out of its range, or contradicts another argument.
    """
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
    if args.max_failures is not None:
        config.max_failures = args.max_failures
    return parse_shard(args.shard) if args.shard else Shard()


def make_engine(
    args: argparse.Namespace, stage: Stage[FoundT, ResultT]
) -> LocalEngine[FoundT, ResultT] | RayEngine:
    """Create the engine that the arguments select.

    Raises:
        UsageError: if a device does not exist, a network cannot be built, or the package ray is
            required and not installed.
    """
    devices = pick_devices(stage.config.device)
    if args.engine == "ray":
        time_limit_s = args.time_limit or 3600.0
        return RayEngine(stage, address=args.address, actors=args.actors, time_limit_s=time_limit_s)
    return LocalEngine(stage, [stage.worker(device) for device in devices])
