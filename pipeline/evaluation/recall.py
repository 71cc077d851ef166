"""Mean average recall (mAR) of single-label classification, as in the evaluation of CAD-120."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int64
from scipy.stats import binomtest

from pipeline.evaluation.metrics import none_if_nan

#: Predicted class of a clip without a prediction.
MISSING = -1


@dataclass(frozen=True)
class MeanAverageRecall:
    r"""Recall of each class, and its mean.

    .. math::
        \mathrm{recall}_c = \frac{\mathrm{hits}_c}{\mathrm{support}_c}, \qquad
        \mathrm{mAR} = \frac{1}{|\{c : \mathrm{support}_c > 0\}|}
                       \sum_{c : \mathrm{support}_c > 0} \mathrm{recall}_c

    All classes have the same weight, including `null`. For one predicted class per clip, mAR is the
    balanced accuracy. A class without clips is left out and counted in `num_skipped`. In the
    original evaluation code of CAD-120, its recall is 0, but each test fold has clips of all
    classes. Sums of `hits` and of `support` over several folds yield the pooled mAR.

    Attributes:
        hits: (C,) int64, number of recognised clips per class.
        support: (C,) int64, number of clips per class.
        confusion: (C, C) int64, number of clips by class (row) and predicted class (column). Clips
            without a prediction are in no column. None if a clip can have several predictions.

    Raises:
        ValueError: if the shapes differ, or a class has more hits than clips.
    """

    hits: np.ndarray
    support: np.ndarray
    confusion: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.hits.ndim != 1 or self.hits.shape != self.support.shape:
            raise ValueError(
                "hits, support: one number per class expected, got shapes "
                f"{self.hits.shape} and {self.support.shape}"
            )
        bad = np.flatnonzero((self.hits < 0) | (self.hits > self.support))
        if len(bad):
            c = bad[0]
            raise ValueError(
                f"hits: 0 to {self.support[c]} expected in class {c}, got {self.hits[c]}"
            )

    @property
    def recall(self) -> Float[np.ndarray, "C"]:
        """Recall per class, NaN for a class without clips."""
        found = np.full(len(self.hits), np.nan)
        np.divide(self.hits, self.support, out=found, where=self.support > 0)
        return found

    @property
    def mar(self) -> float:
        """Mean recall of the classes with clips, or NaN if there are no clips."""
        known = self.recall[self.support > 0]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def standard_error(self) -> float:
        r"""Standard error of `mar`, or NaN if there are no clips.

        .. math::
            \frac{1}{|C|} \sqrt{\sum_{c \in C} \frac{p_c (1 - p_c)}{\mathrm{support}_c}}, \qquad
            p_c = \frac{\mathrm{hits}_c + 1}{\mathrm{support}_c + 2}

        C are the classes with clips. p_c is Laplace's estimate of the recall, so that a class with
        one recognised clip is not taken for certain.
        """
        k, n = self.hits[self.support > 0], self.support[self.support > 0]
        p = (k + 1) / (n + 2)
        return float(np.sqrt((p * (1 - p) / n).sum()) / len(n)) if len(n) else float("nan")

    @property
    def accuracy(self) -> float:
        """Share of recognised clips, or NaN if there are no clips."""
        total = self.support.sum()
        return float(self.hits.sum() / total) if total else float("nan")

    @property
    def num_skipped(self) -> int:
        """Number of classes without clips."""
        return int((self.support == 0).sum())

    @property
    def interval(self) -> Float[np.ndarray, "C 2"]:
        """Wilson score interval (95 %) of the recall per class, NaN for a class without clips.

        The interval treats the clips as independent, although clips of one video are not.
        """
        found = np.full((len(self.hits), 2), np.nan)
        for c in np.flatnonzero(self.support):
            test = binomtest(int(self.hits[c]), int(self.support[c]))
            found[c] = test.proportion_ci(confidence_level=0.95, method="wilson")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return the metrics for JSON.

        Returns:
            `mar`, `accuracy`, `classes_without_clips`, `recall` and `confusion`. `recall` has an
            entry per class, with `recall`, `hits`, `support`, and the bounds `low` and `high` of
            the interval. A value without clips is None.
        """
        rows = zip(self.recall, self.hits, self.support, self.interval, strict=True)
        return {
            "mar": none_if_nan(self.mar),
            "accuracy": none_if_nan(self.accuracy),
            "classes_without_clips": self.num_skipped,
            "recall": [
                {
                    "recall": none_if_nan(recall),
                    "hits": int(hits),
                    "support": int(support),
                    "low": none_if_nan(low),
                    "high": none_if_nan(high),
                }
                for recall, hits, support, (low, high) in rows
            ],
            "confusion": None if self.confusion is None else self.confusion.tolist(),
        }


def mean_average_recall(
    predicted: Int64[np.ndarray, "V"], labels: Int64[np.ndarray, "V"], num_classes: int
) -> MeanAverageRecall:
    """Compute the mAR of clips with one label and one predicted class, see `MeanAverageRecall`.

    Args:
        predicted: predicted class of each clip, or `MISSING` (-1) for a clip without a prediction,
            which counts as a miss.
        labels: class of each clip.
        num_classes: number of classes C.

    Raises:
        ValueError: if a class is out of range. The message names the clip.

    Example::

        >>> import numpy as np
        >>> from pipeline.evaluation.recall import mean_average_recall
        >>> result = mean_average_recall(np.array([0, 0, 1, -1]), np.array([0, 1, 1, 1]), 3)
        >>> result.recall.round(4).tolist()
        [1.0, 0.3333, nan]
        >>> round(result.mar, 4)
        0.6667
    """
    for name, values, low in (("labels", labels, 0), ("predicted", predicted, MISSING)):
        bad = np.flatnonzero((values < low) | (values >= num_classes))
        if len(bad):
            raise ValueError(
                f"{name}: classes from {low} to {num_classes - 1} expected, got "
                f"{values[bad[0]]} for clip {bad[0]}"
            )
    confusion = np.zeros((num_classes, num_classes), np.int64)
    known = predicted != MISSING
    np.add.at(confusion, (labels[known], predicted[known]), 1)
    support = np.bincount(labels, minlength=num_classes)
    return MeanAverageRecall(confusion.diagonal().copy(), support, confusion)


def recall_of_hits(
    hits: Bool[np.ndarray, "V"], labels: Int64[np.ndarray, "V"], num_classes: int
) -> MeanAverageRecall:
    """Compute the mAR of clips that may have any number of predictions.

    Args:
        hits: True for a recognised clip. In the original evaluation code of CAD-120, a clip of the
            class `null` is recognised if nothing is predicted, and any other clip if its class is
            among the predictions.
        labels: class of each clip.
        num_classes: number of classes C.

    Raises:
        ValueError: if a class is out of range. The message names the clip.
    """
    support = mean_average_recall(np.full_like(labels, MISSING), labels, num_classes).support
    return MeanAverageRecall(np.bincount(labels[hits], minlength=num_classes), support)


def recall_of_scores(
    scores: Float[np.ndarray, "V C"], labels: Bool[np.ndarray, "V C"]
) -> MeanAverageRecall:
    """Compute the mAR of clips whose predicted class is the one with the highest score.

    Args:
        scores: probabilities. Of equal scores, the first is the highest. A row of negative scores
            is a clip without a prediction (`EvaluatedSplit.add_missing`).
        labels: True for the class of a clip. Clips without any class are left out.

    Raises:
        ValueError: if a score is NaN or a clip has several classes. The message names the row.
    """
    known = labels.any(1)
    several = np.flatnonzero(labels.sum(1) > 1)
    if len(several):
        raise ValueError(
            f"labels: one class per clip expected, row {several[0]} has {labels[several[0]].sum()}"
        )
    bad = np.flatnonzero(np.isnan(scores).any(1) & known)
    if len(bad):
        raise ValueError(f"scores: numbers expected, got NaN in row {bad[0]}")
    found = np.where((scores < 0).all(1), MISSING, scores.argmax(1))
    return mean_average_recall(found[known], labels.argmax(1)[known], labels.shape[1])
