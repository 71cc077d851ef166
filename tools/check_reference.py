"""`python -m tools.check_reference DIR`: compare our numbers with the reference implementations.

DIR is a folder of files in the layout of tests/reference. Its numbers may differ from the
numbers in tests/reference, because the weights are generated from the seed that each file stores.
"""

import json
import math
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.runtime.command_line import (
    EXIT_FAILURES,
    EXIT_OK,
    common_parser,
    parse_words,
    run_command,
)
from tools.proofs.reference import detector_jwyang, recall, small, sttran
from tools.proofs.reference.weight_rule import make_tensor

Result = tuple[float, float, str]
Check = Callable[[dict[str, np.ndarray], dict[str, Any]], dict[str, Result]]


def _detector(arrays: dict[str, np.ndarray], states: dict[str, Any]) -> dict[str, Result]:
    seed = json.loads(str(arrays["meta"][0]))["seed"]
    detector = detector_jwyang.build_reference_detector(
        arrays, states["keys"]["faster_rcnn_ag"], lambda key, shape: make_tensor(seed, key, shape)
    )
    return detector_jwyang.check(arrays, detector)


CHECKS: dict[str, Check] = {
    "charades_map": small.check_charades_map,
    "gpo": small.check_gpo,
    "spatial_masks": small.check_spatial_masks,
    "detector_jwyang": _detector,
    "sttran_predcls": sttran.check_predcls,
    "sttran_sgcls": sttran.check_sgcls,
    "sttran_sgdet": sttran.check_sgdet,
    "recall_eval": recall.check_recall,
}


def main(argv: list[str]) -> int:
    """Run the checks and return the exit code, which is 0 if all checks pass."""
    prog = "python -m tools.check_reference"
    example = f"{prog} tests/reference --json"
    parser = common_parser(prog, __doc__ or "", example, has_settings=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of text")
    args, _ = parse_words(parser, argv)
    if not args.folder.is_dir() or not list(args.folder.glob("*.npz")):
        raise UsageError(f"DIR: a folder with .npz files expected, got {args.folder}")
    report = run_checks(args.folder)
    if args.json:
        print(json.dumps(report, indent=2, allow_nan=False))
    else:
        for name, row in report.items():
            mark = "passed" if row["holds"] else "FAILED"
            print(f"{mark} {name}: {row['error']} <= {row['tolerance']}, worst at {row['worst']}")
    return EXIT_OK if all(row["holds"] for row in report.values()) else EXIT_FAILURES


def run_checks(folder: Path) -> dict[str, dict[str, Any]]:
    """Run every check of every file.

    Args:
        folder: folder of the reference files.

    Returns:
        For each `STEM/CHECK`, a dict with the keys `holds`, `error`, `tolerance` and `worst`.

    Raises:
        UsageError: if a file is unreadable or lacks an array, or if no check exists for any file.
    """
    states = _read_states(folder / "state_dicts.json")
    report: dict[str, dict[str, Any]] = {}
    if states is not None:
        named = small.check_weight_rule(states) | sttran.check_names(states)
        report |= {f"state_dicts/{name}": _row(result) for name, result in named.items()}
    for path in sorted(folder.glob("*.npz")):
        if path.stem not in CHECKS:
            print(f"no check exists for {path.name}", file=sys.stderr)
            continue
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            results = CHECKS[path.stem](arrays, states or {})
        except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise UsageError(f"{path}: a reference file expected: {error!r}") from error
        report |= {f"{path.stem}/{name}": _row(result) for name, result in results.items()}
    if not report:
        raise UsageError(
            f"DIR: at least one of the files {', '.join(CHECKS)} (.npz) expected in {folder}"
        )
    return report


def _row(result: Result) -> dict[str, Any]:
    error, tolerance, worst = result
    finite = float(error) if math.isfinite(error) else None
    row = {"error": finite, "tolerance": float(tolerance), "worst": worst}
    return {"holds": bool(error <= tolerance)} | row


def _read_states(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: JSON expected: {error}") from error
    if not isinstance(tree, dict) or not {"seed", "keys", "rule_check"} <= tree.keys():
        raise UsageError(f"{path}: the keys seed, keys and rule_check expected")
    return tree


if __name__ == "__main__":
    run_command(main)
