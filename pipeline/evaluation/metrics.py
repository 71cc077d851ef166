"""Mean average precision of multi-label video classification, as Charades defines it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Average precision of each class, and its means.

    Attributes:
        ap: (C,) float64, average precision; NaN for a class without positives.
        num_positives: (C,) int64, number of positives.
    """

    ap: np.ndarray
    num_positives: np.ndarray

    @property
    def map(self) -> float:
        """Mean over the classes with positives; NaN if no class has any."""
        known = self.ap[~np.isnan(self.ap)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def weighted(self) -> float:
        """Mean weighted by the number of positives n, sum(AP n) / sum(n); NaN without positives."""
        known = ~np.isnan(self.ap)
        n = self.num_positives[known]
        return float((self.ap[known] * n).sum() / n.sum()) if n.sum() else float("nan")

    @property
    def num_skipped(self) -> int:
        """Number of classes without positives."""
        return int(np.isnan(self.ap).sum())


def charades_map(
    scores: Float[np.ndarray, "V C"],
    labels: Bool[np.ndarray, "V C"],
    *,
    present: Bool[np.ndarray, "V"] | None = None,
    rank_unlabelled_last: bool = True,
) -> MeanAveragePrecision:
    """Compute the official Charades mAP (`Charades_v1_classify.m`, with NaN-aware means).

    For each class, the rows are sorted by decreasing score; tied rows keep their order. AP is the
    mean, over the positives, of the precision at their rank. Rows without any label and rows
    without a prediction are ranked last. Positives in rows without a prediction still count.

    Args:
        scores: real numbers, not necessarily probabilities.
        labels: True where a video has the action.
        present: True where a video has a prediction; None if all videos have one.
        rank_unlabelled_last: if False, rows without any label are ranked by their scores. This is
            the `map` of the gsig repositories, not the official metric.

    Returns:
        Average precision per class; NaN for a class without positives.

    Raises:
        ValueError: if a score is NaN in a row that is ranked by its scores. The message names the
            row and the column.

    Example::

        >>> import numpy as np
        >>> from pipeline.evaluation.metrics import charades_map
        >>> scores = np.array([[0.9, 0.2], [0.8, 0.7], [0.1, 0.6]])
        >>> labels = np.array([[True, False], [False, True], [True, False]])
        >>> result = charades_map(scores, labels)
        >>> result.ap.round(4).tolist()
        [0.8333, 1.0]
        >>> round(result.map, 4)
        0.9167
    """
    kept = np.any(labels, 1) if rank_unlabelled_last else np.ones(len(labels), dtype=bool)
    kept = kept if present is None else kept & present
    _refuse_nan(scores, kept)
    ranked = np.where(kept[:, None], scores, -np.inf)
    order = np.argsort(-ranked, axis=0, kind="stable")
    hits = np.take_along_axis(labels, order, axis=0)
    rank = np.arange(1, len(scores) + 1)[:, None]
    precision = np.cumsum(hits, axis=0) / rank
    n = labels.sum(0)
    with np.errstate(invalid="ignore"):
        ap = np.where(n > 0, (precision * hits).sum(0) / n, np.nan)
    return MeanAveragePrecision(ap, n)


def tie_grouped_map(
    scores: Float[np.ndarray, "V C"], labels: Bool[np.ndarray, "V C"], *, all_rows: bool = False
) -> MeanAveragePrecision:
    """Compute the mAP of SlowFast and LFB: scikit-learn's AP, tied scores share a threshold.

    Args:
        scores: finite numbers.
        labels: True where a video has the action.
        all_rows: if True, videos without any label count as negatives; otherwise they are left out.

    Returns:
        Average precision per class; NaN for a class without positives.

    Raises:
        ValueError: if a score of a counted row is NaN. The message names the row and the column.
    """
    rows = np.ones(len(labels), dtype=bool) if all_rows else np.any(labels, 1)
    _refuse_nan(scores, rows)
    truth, said = labels[rows], scores[rows]
    ap = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(truth.any(0)):
        ap[c] = average_precision_score(truth[:, c], said[:, c])
    return MeanAveragePrecision(ap, truth.sum(0))


def none_if_nan(value: float) -> float | None:
    """Convert a metric for JSON: None for NaN, otherwise a float."""
    return None if np.isnan(value) else float(value)


def _refuse_nan(scores: np.ndarray, rows: np.ndarray) -> None:
    bad = np.argwhere(np.isnan(scores) & rows[:, None])
    if len(bad):
        raise ValueError(
            f"scores: numbers expected, got NaN in row {bad[0][0]}, column {bad[0][1]}"
        )
