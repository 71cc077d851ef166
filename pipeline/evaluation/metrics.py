"""Mean average precision of multi-label video classification as defined by Charades."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from sklearn.metrics import average_precision_score


@dataclass(frozen=True)
class MeanAveragePrecision:
    """Average precision of each class, and its means.

    Attributes:
        ap: (C,) float64, average precision per class. NaN for a class without positives.
        num_positives: (C,) int64, number of positives per class.
    """

    ap: np.ndarray
    num_positives: np.ndarray

    @property
    def map(self) -> float:
        """Mean over the classes with positives, or NaN if no class has positives."""
        known = self.ap[~np.isnan(self.ap)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def weighted(self) -> float:
        """Mean weighted by the number of positives n, sum(AP n) / sum(n).

        NaN if no class has positives.
        """
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

    For each class, the rows are sorted by decreasing score. Rows with equal scores keep their
    order. AP is the mean of the precision at the ranks of the positives. Rows without any label and
    rows without a prediction are ranked last. Their positives are counted.

    Args:
        scores: real numbers, which need not be probabilities.
        labels: True where a video has the action.
        present: True where a video has a prediction. Default: True for all videos.
        rank_unlabelled_last: whether rows without any label are ranked last. If False, they are
            ranked by their scores, as in the function `map` of the gsig repositories. The result
            is then not the official metric.

    Returns:
        Average precision per class, which is NaN for a class without positives.

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
    """Compute the mAP in which tied scores share one threshold, as SlowFast and LFB do.

    AP is computed by `sklearn.metrics.average_precision_score`.

    Args:
        scores: finite numbers.
        labels: True where a video has the action.
        all_rows: whether videos without any label count as negatives. If False, they are ignored.

    Returns:
        Average precision per class, which is NaN for a class without positives.

    Raises:
        ValueError: if a score of a used row is NaN. The message names the row and the column.
    """
    rows = np.ones(len(labels), dtype=bool) if all_rows else np.any(labels, 1)
    _refuse_nan(scores, rows)
    truth, said = labels[rows], scores[rows]
    ap = np.full(labels.shape[1], np.nan)
    for c in np.flatnonzero(truth.any(0)):
        ap[c] = average_precision_score(truth[:, c], said[:, c])
    return MeanAveragePrecision(ap, truth.sum(0))


def none_if_nan(value: float) -> float | None:
    """Return a metric as a float for JSON, or None if it is NaN."""
    return None if np.isnan(value) else float(value)


def _refuse_nan(scores: np.ndarray, rows: np.ndarray) -> None:
    bad = np.argwhere(np.isnan(scores) & rows[:, None])
    if len(bad):
        raise ValueError(
            f"scores: numbers expected, got NaN in row {bad[0][0]}, column {bad[0][1]}"
        )
