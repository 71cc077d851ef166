"""Mean average precision of multi-label video classification, as Charades counts it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Average precision of every class and its means.

    Attributes:
        ap: (C,) float64, NaN for a class without positives.
        num_positives: (C,) int64, positives that count.
    """

    ap: np.ndarray
    num_positives: np.ndarray

    @property
    def map(self) -> float:
        """Mean over the classes that have positives; NaN if none has."""
        known = self.ap[~np.isnan(self.ap)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def weighted(self) -> float:
        """Sum of AP n / sum of n over the classes that have positives."""
        known = ~np.isnan(self.ap)
        n = self.num_positives[known]
        return float((self.ap[known] * n).sum() / n.sum()) if n.sum() else float("nan")

    @property
    def num_skipped(self) -> int:
        """Classes without positives."""
        return int(np.isnan(self.ap).sum())


def charades_map(
    scores: Float[np.ndarray, "V C"],
    labels: Bool[np.ndarray, "V C"],
    *,
    present: Bool[np.ndarray, "V"] | None = None,
    rank_unlabelled_last: bool = True,
) -> MeanAveragePrecision:
    """Official mAP: `Charades_v1_classify.m`, but with NaN-aware means.

    Per class the rows are sorted by falling score (stable: of ties, the earlier row first), and
    AP is the mean, over the positives, of the precision at their rank. Rows without any label, and
    rows without a prediction, are ranked last; positives of the latter still count.

    Args:
        scores: any real numbers; NaN is refused.
        labels: True where a video has the action.
        present: False where there is no prediction for a video, or None for all present.
        rank_unlabelled_last: False ranks rows without any label by their scores (the `map` of the
            gsig repositories, which is not the official metric).

    Returns:
        AP by class, NaN without positives.

    Raises:
        ValueError: if a score that counts is NaN; names its row and column.
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
    """The mAP of SlowFast and LFB: scikit-learn's AP, tied scores form one threshold.

    Args:
        scores: finite numbers.
        labels: True where a video has the action.
        all_rows: count videos without labels as negatives, instead of leaving them out.

    Returns:
        AP by class, NaN without positives.
    """
    rows = np.ones(len(labels), dtype=bool) if all_rows else np.any(labels, 1)
    _refuse_nan(scores, rows)
    truth, said = labels[rows], scores[rows]
    ap = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(truth.any(0)):
        ap[c] = average_precision_score(truth[:, c], said[:, c])
    return MeanAveragePrecision(ap, truth.sum(0))


def none_if_nan(value: float) -> float | None:
    """As JSON has it."""
    return None if np.isnan(value) else float(value)


def _refuse_nan(scores: np.ndarray, rows: np.ndarray) -> None:
    bad = np.argwhere(np.isnan(scores) & rows[:, None])
    if len(bad):
        raise ValueError(f"scores: numbers expected, row {bad[0][0]}, column {bad[0][1]} is NaN")
