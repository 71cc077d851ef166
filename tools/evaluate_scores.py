"""`python -m tools.evaluate_scores FILE.npz`: compute the Charades mAP of arbitrary predictions.

FILE.npz contains the arrays `scores` (V, C), `labels` (V, C; 0 or 1) and optionally `ids` (V,).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.metrics import charades_map, none_if_nan, tie_grouped_map
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command


def main(argv: list[str]) -> int:
    """Print the metrics and return the exit code."""
    prog = "python -m tools.evaluate_scores"
    parser = common_parser(prog, __doc__ or "", f"{prog} a.npz", has_settings=False)
    parser.add_argument("file", type=Path)
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )
    args, _ = parse_words(parser, argv)
    scores, labels = read_scores(args.file)
    try:
        tree = metrics_dict(scores, labels)
    except ValueError as error:
        raise UsageError(f"{args.file}: {error}") from error
    print(json.dumps(tree, indent=2, allow_nan=False) if args.json else _table(tree))
    return EXIT_OK


def read_scores(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read scores and labels from an .npz file.

    Returns:
        (V, C) float64 scores and (V, C) bool labels.

    Raises:
        UsageError: if the file is missing or unreadable, or an array is missing or invalid.
    """
    arrays = read_arrays(path)
    for name in ("scores", "labels"):
        if name not in arrays or arrays[name].ndim != 2:
            raise UsageError(f"{path}: an array {name!r} of shape (videos, classes) expected")
    scores, labels = arrays["scores"], arrays["labels"]
    if scores.shape != labels.shape or not scores.size:
        raise UsageError(
            f"{path}: scores and labels of one shape expected, got {scores.shape}, {labels.shape}"
        )
    if scores.dtype.kind not in "fiu" or not np.isin(labels, (0, 1)).all():
        raise UsageError(f"{path}: real scores and labels of 0 and 1 expected")
    ids = arrays.get("ids")
    if ids is not None and (ids.shape != (len(scores),) or len(np.unique(ids)) < len(ids)):
        raise UsageError(f"{path}: ids: one unique id per row expected, got shape {ids.shape}")
    return scores.astype(np.float64), labels.astype(bool)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npz file.

    Raises:
        UsageError: if the file is missing or unreadable.
    """
    if not path.is_file():
        raise UsageError(f"FILE.npz: file not found: {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if not all(isinstance(value, np.ndarray) for value in arrays.values()):
            raise ValueError("arrays expected")
        return arrays
    except Exception as error:  # a damaged file raises errors of zipfile, zlib and numpy
        raise UsageError(f"{path}: an .npz file of plain arrays expected: {error}") from error


def metrics_dict(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Compute all metrics and return them as a JSON tree.

    Raises:
        ValueError: if a score is NaN.
    """
    official, grouped = charades_map(scores, labels), tie_grouped_map(scores, labels)
    rows = zip(official.num_positives, official.ap, grouped.ap, strict=True)
    return {
        "videos": len(labels),
        "unlabelled": int((~labels.any(1)).sum()),
        "classes": labels.shape[1],
        "classes_without_positives": official.num_skipped,
        "map_official": none_if_nan(official.map),
        "wap_official": none_if_nan(official.weighted),
        "map_tie_grouped": none_if_nan(grouped.map),
        "map_tie_grouped_all_rows": none_if_nan(tie_grouped_map(scores, labels, all_rows=True).map),
        "per_class": [
            {
                "class": c,
                "positives": int(n),
                "ap": none_if_nan(ap),
                "ap_tie_grouped": none_if_nan(tied),
            }
            for c, (n, ap, tied) in enumerate(rows)
        ],
    }


def _table(tree: dict[str, Any]) -> str:
    lines = [f"{name:26} {_text(value)}" for name, value in tree.items() if name != "per_class"]
    lines.append(f"{'class':>5} {'positives':>9} {'AP':>8} {'tie-grouped':>11}")
    for row in tree["per_class"]:
        lines.append(
            f"{row['class']:5d} {row['positives']:9d} {_text(row['ap']):>8} "
            f"{_text(row['ap_tie_grouped']):>11}"
        )
    return "\n".join(lines)


def _text(value: float | int | None) -> str:
    return "none" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    run_command(main)
