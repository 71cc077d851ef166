"""`python -m tools.evaluate_scores FILE`: compute the Charades mAP of arbitrary predictions.

FILE is one of

- an .npz file with the arrays `scores` (V, C), `labels` (V, C; 0 or 1) and optionally `ids` (V,);
- a text file as for the official evaluation: a line per video with its id and the scores of all
  classes. `--annotations` is the folder of `Charades_v1_test.csv` and `Charades_v1_classes.txt`;
- the pickle of a SlowFast test (`TEST.SAVE_RESULTS_PATH`), which contains predictions and labels.
  It contains no ids: its rows follow the videos of SlowFast's `val.csv`. With this file as
  `--list`, the labels of `--annotations` can be used.

With `--annotations`, all videos of the CSV file are ranked. Those without scores rank last.
"""

import json
import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.evaluation.metrics import charades_map, none_if_nan, tie_grouped_map
from pipeline.evaluation.official_labels import OfficialLabels
from pipeline.evaluation.slowfast import read_frame_list, read_slowfast_scores
from pipeline.evaluation.submission import read_submission
from pipeline.runtime.command_line import EXIT_OK, common_parser, parse_words, run_command

LOGGER = logging.getLogger("evaluate_scores")


@dataclass(frozen=True)
class RankedScores:
    """Scores and labels of V videos.

    Attributes:
        scores: (V, C) float64.
        labels: (V, C) bool.
        present: (V,) bool, whether a video has scores.
        num_extra: number of videos with scores that are not among the V videos.
    """

    scores: np.ndarray
    labels: np.ndarray
    present: np.ndarray
    num_extra: int = 0


def main(argv: list[str]) -> int:
    """Print the metrics and return the exit code."""
    prog = "python -m tools.evaluate_scores"
    parser = common_parser(prog, __doc__ or "", f"{prog} a.npz", has_settings=False)
    parser.add_argument("file", type=Path, help="scores: .npz, text, or a pickle of SlowFast")
    parser.add_argument("--annotations", type=Path, help="folder of Charades' CSV and class files")
    parser.add_argument(
        "--list",
        type=Path,
        dest="ids",
        help="SlowFast's val.csv, or a text file with an id per row",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object instead of a table"
    )
    args, _ = parse_words(parser, argv)
    found = read_ranked(args.file, args.annotations, args.ids)
    try:
        tree = metrics_dict(found.scores, found.labels, found.present)
    except ValueError as error:
        raise UsageError(f"{args.file}: {error}") from error
    tree |= {"extra": found.num_extra}
    if tree["missing"]:
        LOGGER.warning("%d videos have no scores and rank last", tree["missing"])
    print(json.dumps(tree, indent=2, allow_nan=False) if args.json else _table(tree))
    return EXIT_OK


def read_ranked(path: Path, annotations: Path | None, ids: Path | None) -> RankedScores:
    """Read scores of any format with their labels.

    Args:
        path: path of the scores.
        annotations: folder of Charades' CSV and class files, or None.
        ids: list of the ids of a SlowFast test, or None.

    Raises:
        UsageError: if a file is missing or invalid, or the labels or ids are not given.
    """
    kind = _kind(path)
    if kind != "pickle" and ids is not None:
        raise UsageError("--list: only for a pickle of SlowFast, because other files contain ids")
    if kind == "npz":
        if annotations is not None:
            raise UsageError("--annotations: not for .npz files, because they contain labels")
        scores, labels = read_scores(path)
        return RankedScores(scores, labels, np.ones(len(scores), dtype=bool))
    if kind == "pickle":
        return _slowfast(path, annotations, ids)
    names, scores = read_submission(path)
    if annotations is None:
        raise UsageError(
            f"{path}: a text file contains no labels; set --annotations to the folder of "
            "Charades_v1_test.csv and Charades_v1_classes.txt"
        )
    return _arranged(OfficialLabels.read(annotations), names, scores)


def _kind(path: Path) -> str:
    """Return `npz`, `pickle` or `text`, by the content of a file."""
    if not path.is_file():
        raise UsageError(f"FILE: file not found: {path}")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            return "npz" if any(name.endswith(".npy") for name in file.namelist()) else "pickle"
    with open(path, "rb") as binary:
        if binary.read(1) == b"\x80":
            return "pickle"
    return "npz" if path.suffix == ".npz" else "text"


def _slowfast(path: Path, annotations: Path | None, ids: Path | None) -> RankedScores:
    scores, labels, tested = read_slowfast_scores(path)
    if annotations is None and ids is None:
        return RankedScores(scores, labels, tested)
    if annotations is None or ids is None:
        raise UsageError(
            f"{path}: a pickle of SlowFast contains no ids; its rows follow the videos of "
            "SlowFast's val.csv. Set both --list val.csv and --annotations, or neither to use its "
            "own labels"
        )
    names = read_frame_list(ids)
    if len(names) != len(scores):
        raise UsageError(f"--list: {len(scores)} videos expected as in {path}, got {len(names)}")
    official = OfficialLabels.read(annotations)
    rows = {name: row for row, name in enumerate(official.ids)}
    both = [row for row, name in enumerate(names) if name in rows]
    if labels.shape[1] == official.labels.shape[1]:
        theirs = official.labels[[rows[names[row]] for row in both]]
        other = int((theirs != labels[both]).any(1).sum())
        if other > len(both) // 20:
            raise UsageError(
                f"--list: the labels of {other} of {len(both)} videos differ from those in {path}; "
                "give the list of this test"
            )
    kept = np.flatnonzero(tested)
    return _arranged(official, [names[row] for row in kept], scores[kept])


def _arranged(official: OfficialLabels, names: Sequence[str], scores: np.ndarray) -> RankedScores:
    arranged, present = official.arrange(names, scores)
    num_extra = len(names) - int(present.sum())
    if num_extra:
        LOGGER.warning("%d videos are no test videos and are left out", num_extra)
    return RankedScores(arranged, official.labels, present, num_extra)


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
        raise UsageError(f"FILE: file not found: {path}")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        if not all(isinstance(value, np.ndarray) for value in arrays.values()):
            raise ValueError("arrays expected")
        return arrays
    except Exception as error:  # a damaged file raises errors of zipfile, zlib and numpy
        raise UsageError(f"{path}: an .npz file of plain arrays expected: {error}") from error


def metrics_dict(
    scores: np.ndarray, labels: np.ndarray, present: np.ndarray | None = None
) -> dict[str, Any]:
    """Compute all metrics and return them as a JSON tree.

    Args:
        scores: (V, C) float64 scores. Those of videos without a prediction are the lowest ones.
        labels: (V, C) bool labels.
        present: (V,) bool, whether a video has a prediction. Default: True for all videos.

    Raises:
        ValueError: if a score is NaN.
    """
    official = charades_map(scores, labels, present=present)
    grouped = tie_grouped_map(scores, labels)
    rows = zip(official.num_positives, official.ap, grouped.ap, strict=True)
    return {
        "videos": len(labels),
        "missing": 0 if present is None else int((~present).sum()),
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
