"""Recall and accuracy of predicates over many frames."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from relations.recall import (
    CONSTRAINTS,
    Constraint,
    FrameRecall,
    K,
    SceneGraph,
    frame_recall,
    predicate_recall,
    recall_table,
)

#: K of the recall by group and by predicate.
SHOWN_K = 20


def count_right(
    known: np.ndarray, said: np.ndarray, group_sizes: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Count the pairs whose best predicate of a group is annotated.

    Args:
        known: (P, R) annotated predicates, 0 or 1.
        said: (P, R) probabilities of the predicates.
        group_sizes: number of predicates of each group, G.

    Returns:
        A tuple of two (G,) int64 arrays: the number of these pairs, and the number of all pairs
        with an annotated predicate of the group.
    """
    counts = []
    for group in np.split(np.arange(known.shape[1]), np.cumsum(group_sizes)[:-1]):
        there = known[:, group].any(1)
        best = said[there][:, group].argmax(1)
        counts.append((known[there][:, group][np.arange(len(best)), best].sum(), there.sum()))
    right, total = np.array(counts, dtype=np.int64).T
    return right, total


def shares_by_group(
    groups: Iterable[str], right: np.ndarray, total: np.ndarray
) -> dict[str, float | None]:
    """Return the share of right pairs of each group, or None for a group without pairs."""
    rows = zip(groups, right, total, strict=True)
    return {name: float(r / t) if t else None for name, r, t in rows}


@dataclass
class Tally:
    """Recall and accuracy of one method, accumulated over frames.

    Attributes:
        frames: mapping from constraint to the recall of each frame.
        right: (3,) int64, number of pairs per group whose best predicate is annotated.
        total: (3,) int64, number of pairs per group with an annotated predicate. `right` and
            `total` include only frames whose pairs have the same boxes in truth and prediction.
            Frames with detected boxes are therefore excluded.
    """

    frames: dict[Constraint, list[FrameRecall]] = field(
        default_factory=lambda: {constraint: [] for constraint in CONSTRAINTS}
    )
    right: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=np.int64))
    total: np.ndarray = field(default_factory=lambda: np.zeros(3, dtype=np.int64))

    def add(self, truth: Sequence[SceneGraph], predicted: Sequence[SceneGraph]) -> None:
        """Add frames. Frames without annotated relations are skipped.

        Args:
            truth: annotated graphs, one per frame.
            predicted: predicted graphs of the same frames.
        """
        for wanted, found in zip(truth, predicted, strict=True):
            if not wanted.predicates.any():
                continue
            for constraint in CONSTRAINTS:
                self.frames[constraint].append(frame_recall(wanted, found, constraint))
            if np.array_equal(wanted.boxes[wanted.pairs], found.boxes[found.pairs]):
                self._add_accuracy(wanted, found)

    def _add_accuracy(self, wanted: SceneGraph, found: SceneGraph) -> None:
        right, total = count_right(wanted.predicates, found.predicates, wanted.group_sizes)
        self.right, self.total = self.right + right, self.total + total

    def accuracy(self, groups: Iterable[str]) -> dict[str, float | None]:
        """Return the fraction of pairs whose best predicate is annotated, by group.

        The fraction is None for a group without annotated pairs.
        """
        return shares_by_group(groups, self.right, self.total)

    def to_dict(self, predicate_groups: Mapping[str, Sequence[str]]) -> dict[str, Any]:
        """Return the metrics as a dict for JSON.

        `recall` and `mean_recall` are indexed by constraint and K, and `accuracy` is indexed by
        group. `by_group` and `by_predicate` are the fractions of all annotated relations that are
        found with constraint at K = `SHOWN_K`. Without frames, the result is `{"frames": 0}`.
        """
        predicates = [name for names in predicate_groups.values() for name in names]
        if not self.frames["with"]:
            return {"frames": 0}
        recalls, counts = predicate_recall(self.frames["with"], len(predicates), SHOWN_K)
        rows = zip(predicates, recalls, counts, strict=True)
        ends = np.cumsum([len(names) for names in predicate_groups.values()])[:-1]
        parts = zip(np.split(recalls, ends), np.split(counts, ends), strict=True)
        shares = [float(np.nansum(r * n) / max(n.sum(), 1)) for r, n in parts]
        return {
            "frames": len(self.frames["with"]),
            "recall": {
                c: {str(k): v for k, v in recall_table(frames).items()}
                for c, frames in self.frames.items()
            },
            "mean_recall": {
                c: {
                    str(k): float(np.nanmean(predicate_recall(frames, len(predicates), k)[0]))
                    for k in K
                }
                for c, frames in self.frames.items()
            },
            "accuracy": self.accuracy(predicate_groups),
            "by_group": dict(zip(predicate_groups, shares, strict=True)),
            "by_predicate": {
                name: {"recall": float(value), "count": int(count)}
                for name, value, count in rows
                if count
            },
        }
