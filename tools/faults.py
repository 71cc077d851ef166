"""`python -m tools.faults`: inject faults into extraction and count the passed trials."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    common_parser,
    parse_words,
    run_command,
)
from pipeline.runtime.files import write_json
from tools.proofs.faults import containers, hostile, memory, stops, storage, videos, writers
from tools.proofs.faults.lab import Lab, Tally

EXAMPLE = "python -m tools.faults --scale 0.05 --seed 0"
#: Function that runs the trials, and number of trials at scale 1, by family.
FAMILIES: dict[str, tuple[Callable[[Lab, int], Tally], int]] = {
    "kill": (stops.kills, 200),
    "interrupt": (stops.interrupts, 50),
    "damage": (videos.damage, 1000),
    "checksums": (videos.damage_with_checksums, 1000),
    "formats": (videos.formats, 18),
    "containers": (containers.healthy, 24),
    "cut": (containers.cut, 400),
    "bombs": (videos.bombs, 5),
    "full": (storage.full_disk, 50),
    "readonly": (storage.read_only, 3),
    "writers": (writers.together, 100),
    "rot": (storage.bit_rot, 500),
    "pickles": (hostile.pickles, 30),
    "ids": (hostile.ids, 20),
    "memory": (memory.too_little, 10),
    "deaths": (memory.deaths, 20),
}


def main(argv: list[str]) -> int:
    """Run the families of trials and return the exit code, which is 0 if all trials pass."""
    parser = common_parser("python -m tools.faults", __doc__ or "", EXAMPLE, has_settings=False)
    parser.add_argument("--only", nargs="+", choices=list(FAMILIES), default=list(FAMILIES))
    parser.add_argument("--scale", type=float, default=1.0, help="factor for the number of trials")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="also write the results to this file")
    parser.add_argument("--keep", type=Path, help="empty folder for the files of failed trials")
    args, _ = parse_words(parser, argv)
    if not 0 < args.scale <= 100:
        raise UsageError(f"--scale: a number above 0 and at most 100 expected, got {args.scale}")
    tallies = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for name in args.only:
            place = folder / name
            place.mkdir()
            tallies.append(_run(name, place, args.scale, args.seed))
    if args.json:
        write_json(args.json, {"seed": args.seed, "scale": args.scale, "families": tallies})
    did_hold = all(tally["tried"] == tally["held"] for tally in tallies)
    return EXIT_OK if did_hold else EXIT_FAILURES


def _run(name: str, place: Path, scale: float, seed: int) -> dict[str, Any]:
    run, number = FAMILIES[name]
    tally = run(Lab.make(place, seed), max(round(number * scale), 1))
    row = vars(tally) | {"family": name}
    notes = "; ".join(f"{key}: {value}" for key, value in tally.notes.items())
    print(f"{tally.name:28} tried {tally.tried:5}  held {tally.held:5}  {tally.means}", flush=True)
    if notes:
        print(f"{'':28} {notes}", flush=True)
    for problem in tally.problems[:20]:
        print(f"  failed: {problem}", flush=True)
    return row


if __name__ == "__main__":
    run_command(main)
