"""Recall of scene graphs: R@K as STTran counts it.

`lib/evaluation_recall.py`, `BasicSceneGraphEvaluator`. Per frame, every pair gives three rows: its
attention, its spatial relation (of the object to the person, so reversed), its contact. A
relation is found if one of the K best has its three classes and both boxes at IoU >= 0.5.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Constraint = Literal["with", "semi", "no"]
CONSTRAINTS: tuple[Constraint, ...] = ("with", "semi", "no")
K = (10, 20, 50, 100)
SEMI_THRESHOLD = 0.9
IOU = 0.5
#: Rows that count without a constraint.
_MOST = 100


@dataclass(frozen=True)
class SceneGraph:
    """The relations of one frame, annotated or predicted.

    Attributes:
        boxes: (M, 4) float, xyxy, pixels.
        labels: (M,) int; scores: (M,) float, 1 where annotated.
        pairs: (P, 2) int rows of the boxes, person first.
        predicates: (P, R) float probabilities, or 0 and 1 where annotated; attention, spatial and
            contacting follow each other.
        group_sizes: predicates of each of the three.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    pairs: np.ndarray
    predicates: np.ndarray
    group_sizes: tuple[int, int, int]

    def group_spans(self) -> list[slice]:
        """Columns of each group."""
        ends = np.cumsum(self.group_sizes)
        return [slice(int(e) - s, int(e)) for e, s in zip(ends, self.group_sizes, strict=True)]


@dataclass(frozen=True)
class Triplets:
    """Q relations: (Q,) subject and object rows of the boxes, predicate, probability of it."""

    subject: np.ndarray
    object: np.ndarray
    predicate: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.predicate)


@dataclass(frozen=True)
class FrameRecall:
    """What was found of a frame's G annotated relations.

    Attributes:
        predicate: (G,) int.
        rank: (G,) int: the best prediction that finds it, 0-based; -1 if none does.
    """

    predicate: np.ndarray
    rank: np.ndarray

    def recall(self, k: int) -> float:
        """Share of the relations among the first `k` predictions."""
        return float(((self.rank >= 0) & (self.rank < k)).sum() / len(self.rank))


def frame_recall(truth: SceneGraph, predicted: SceneGraph, constraint: Constraint) -> FrameRecall:
    """Look for every annotated relation among the ranked predictions.

    Args:
        truth: annotated.
        predicted: of the same frame.
        constraint: `with`: one predicate per pair and group. `semi`: the best attention, and every
            spatial and contacting predicate of probability above 0.9. `no`: all, the 100 best by
            subject, object and predicate score.

    Raises:
        ValueError: if nothing is annotated: recall has no meaning there.
    """
    wanted = annotated_triplets(truth)
    if not len(wanted):
        raise ValueError("truth: at least one annotated relation expected, the frame has none")
    found = rank_triplets(predicted, constraint)
    same = wanted.predicate[:, None] == found.predicate[None]
    for side in ("subject", "object"):
        mine, theirs = getattr(wanted, side), getattr(found, side)
        same &= truth.labels[mine][:, None] == predicted.labels[theirs][None]
        same &= overlaps(truth.boxes[mine], predicted.boxes[theirs]) >= IOU
    rank = np.where(same.any(1), same.argmax(1) if same.size else -1, -1)
    return FrameRecall(wanted.predicate, rank)


def annotated_triplets(truth: SceneGraph) -> Triplets:
    """Every annotated relation; spatial ones run from the object to the person."""
    return _select(truth, truth.predicates > 0)


def rank_triplets(graph: SceneGraph, constraint: Constraint) -> Triplets:
    """Predicted relations, best first by subject, object and predicate score."""
    chosen = np.zeros(graph.predicates.shape, dtype=bool)
    for index, span in enumerate(graph.group_spans()):
        part = graph.predicates[:, span]
        if constraint == "no":
            chosen[:, span] = True
        elif constraint == "semi" and index:
            chosen[:, span] = part > SEMI_THRESHOLD
        elif part.size:
            chosen[np.arange(len(part)), span.start + part.argmax(1)] = True
    rows = _select(graph, chosen)
    overall = graph.scores[rows.subject] * graph.scores[rows.object] * rows.score
    order = np.argsort(-overall, kind="stable")
    order = order[:_MOST] if constraint == "no" else order
    return Triplets(*(v[order] for v in (rows.subject, rows.object, rows.predicate, rows.score)))


def recall_table(frames: Sequence[FrameRecall], ks: Sequence[int] = K) -> dict[int, float]:
    """R@K: the mean over frames of each frame's recall."""
    return {k: float(np.mean([frame.recall(k) for frame in frames])) for k in ks}


def predicate_recall(
    frames: Sequence[FrameRecall], num_predicates: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Recall by predicate: relations found in all frames over all there are (TEMPURA's mR@K).

    Returns:
        (R,) recall, NaN where a predicate does not occur, and (R,) how often it does. The mean of
        the first without NaN is mR@K.
    """
    predicate = np.concatenate([f.predicate for f in frames] or [np.zeros(0, dtype=int)])
    rank = np.concatenate([f.rank for f in frames] or [np.zeros(0, dtype=int)])
    total = np.bincount(predicate, minlength=num_predicates)
    hits = np.bincount(predicate[(rank >= 0) & (rank < k)], minlength=num_predicates)
    with np.errstate(invalid="ignore"):
        return hits / np.where(total > 0, total, np.nan), total


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(N, M) IoU of boxes whose widths are x2 - x1 + 1."""
    a, b = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = sides.clip(min=0).prod(2)
    areas = [(x[..., 2:] - x[..., :2] + 1).prod(2) for x in (a, b)]
    return shared / (areas[0] + areas[1] - shared)


def _select(graph: SceneGraph, chosen: np.ndarray) -> Triplets:
    """Chosen (pair, predicate) as triplets, group after group."""
    spans = graph.group_spans()
    parts = [np.add(np.argwhere(chosen[:, span]), (0, span.start)) for span in spans]
    pair, predicate = np.concatenate(parts).T
    spatial = spans[1]
    is_reversed = (predicate >= spatial.start) & (predicate < spatial.stop)
    ends = graph.pairs[pair].reshape(-1, 2)
    return Triplets(
        np.where(is_reversed, ends[:, 1], ends[:, 0]),
        np.where(is_reversed, ends[:, 0], ends[:, 1]),
        predicate,
        graph.predicates[pair, predicate],
    )
