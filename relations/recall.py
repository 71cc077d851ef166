"""Recall R@K of scene graphs, computed as in STTran.

The definitions follow `BasicSceneGraphEvaluator` in STTran's `lib/evaluation_recall.py`. A pair has
attention, spatial and contacting relations. The person is the object of spatial relations and the
subject of all other relations. An annotated relation is found if one of the K predictions with the
highest scores matches it. A match has the same subject class, predicate and object class, and both
of its boxes have an IoU of at least 0.5 with the annotated boxes.
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
#: Number of predictions ranked without a constraint.
_MOST = 100


@dataclass(frozen=True)
class SceneGraph:
    """Relations of one frame, annotated or predicted.

    Attributes:
        boxes: (M, 4) float, xyxy, pixels.
        labels: (M,) int object classes.
        scores: (M,) float scores of the boxes, 1 for annotated boxes.
        pairs: (P, 2) int rows of the boxes, person first.
        predicates: (P, R) float probabilities, or 0 and 1 for annotated relations. The columns are
            in the order attention, spatial, contacting.
        group_sizes: number of predicates of each of these three groups.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    pairs: np.ndarray
    predicates: np.ndarray
    group_sizes: tuple[int, int, int]

    def group_spans(self) -> list[slice]:
        """Return the columns of each group."""
        ends = np.cumsum(self.group_sizes)
        return [slice(int(e) - s, int(e)) for e, s in zip(ends, self.group_sizes, strict=True)]


@dataclass(frozen=True)
class Triplets:
    """Q relations of one frame.

    Attributes:
        subject: (Q,) int row of the subject's box.
        object: (Q,) int row of the object's box.
        predicate: (Q,) int predicate.
        score: (Q,) float probability of the predicate.
    """

    subject: np.ndarray
    object: np.ndarray
    predicate: np.ndarray
    score: np.ndarray

    def __len__(self) -> int:
        return len(self.predicate)


@dataclass(frozen=True)
class FrameRecall:
    """Ranks of the predictions that match the G annotated relations of a frame.

    Attributes:
        predicate: (G,) int predicate of each annotated relation.
        rank: (G,) int 0-based rank of the first prediction that matches the relation, or -1 if no
            prediction matches it.
    """

    predicate: np.ndarray
    rank: np.ndarray

    def recall(self, k: int) -> float:
        """Return the fraction of annotated relations that the first `k` predictions match."""
        return float(((self.rank >= 0) & (self.rank < k)).sum() / len(self.rank))


def frame_recall(truth: SceneGraph, predicted: SceneGraph, constraint: Constraint) -> FrameRecall:
    """Find the first matching prediction of every annotated relation of a frame.

    Args:
        truth: annotated relations.
        predicted: predicted relations of the same frame.
        constraint: rule that selects predictions, see `rank_triplets`.

    Returns:
        The ranks of the matching predictions. `FrameRecall.recall` computes R@K of the frame from
        them. `recall_table` averages R@K over frames.

    Raises:
        ValueError: if the frame has no annotated relation. In this case, the recall is undefined.

    Example::

        >>> import numpy as np
        >>> from relations.recall import SceneGraph, frame_recall, recall_table
        >>> boxes = np.array([[10.0, 0.0, 40.0, 90.0], [30.0, 50.0, 60.0, 70.0]])
        >>> labels, pairs = np.array([0, 3]), np.array([[0, 1]])  # a person and an object
        >>> sizes = (2, 1, 2)  # attention, spatial, contacting
        >>> annotated = np.array([[1.0, 0.0, 1.0, 0.0, 0.0]])
        >>> probabilities = np.array([[0.6, 0.4, 0.7, 0.8, 0.1]])
        >>> truth = SceneGraph(boxes, labels, np.ones(2), pairs, annotated, sizes)
        >>> predicted = SceneGraph(boxes, labels, np.ones(2), pairs, probabilities, sizes)
        >>> frame = frame_recall(truth, predicted, "with")
        >>> frame.rank.tolist()  # predicate 0 has rank 2, predicate 2 has rank 1
        [2, 1]
        >>> recall_table([frame], ks=(2, 10))
        {2: 0.5, 10: 1.0}
    """
    wanted = annotated_triplets(truth)
    if not len(wanted):
        raise ValueError("truth: at least one annotated relation expected, got none")
    found = rank_triplets(predicted, constraint)
    same = wanted.predicate[:, None] == found.predicate[None]
    for side in ("subject", "object"):
        mine, theirs = getattr(wanted, side), getattr(found, side)
        same &= truth.labels[mine][:, None] == predicted.labels[theirs][None]
        same &= overlaps(truth.boxes[mine], predicted.boxes[theirs]) >= IOU
    rank = np.where(same.any(1), same.argmax(1) if same.size else -1, -1)
    return FrameRecall(wanted.predicate, rank)


def annotated_triplets(truth: SceneGraph) -> Triplets:
    """Return all annotated relations as triplets."""
    return _select(truth, truth.predicates > 0)


def rank_triplets(graph: SceneGraph, constraint: Constraint) -> Triplets:
    """Return predicted relations in the order of decreasing scores.

    The score of a relation is the product of the scores of its subject, object and predicate.

    Args:
        graph: predicted relations.
        constraint: rule that selects relations. `with` selects the most probable predicate of each
            pair and group. `semi` selects the most probable attention predicate, and every spatial
            and contacting predicate with a probability above 0.9. `no` selects the 100 relations
            with the highest scores.
    """
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
    """Return R@K, the mean recall over frames, for each K."""
    return {k: float(np.mean([frame.recall(k) for frame in frames])) for k in ks}


def predicate_recall(
    frames: Sequence[FrameRecall], num_predicates: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the recall of each predicate over all frames, as in TEMPURA's mR@K.

    The recall of a predicate is the fraction of its annotated relations that are found.

    Args:
        frames: ranks of the annotated relations of each frame.
        num_predicates: number of predicates, R.
        k: number of predictions per frame, K.

    Returns:
        A tuple of (R,) recalls and (R,) numbers of annotated relations. The recall is NaN for
        predicates that do not occur. mR@K is the mean of the recalls that are not NaN.
    """
    predicate = np.concatenate([f.predicate for f in frames] or [np.zeros(0, dtype=int)])
    rank = np.concatenate([f.rank for f in frames] or [np.zeros(0, dtype=int)])
    total = np.bincount(predicate, minlength=num_predicates)
    hits = np.bincount(predicate[(rank >= 0) & (rank < k)], minlength=num_predicates)
    with np.errstate(invalid="ignore"):
        return hits / np.where(total > 0, total, np.nan), total


def overlaps(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the (N, M) IoU of two sets of boxes.

    The width of a box is x2 - x1 + 1. Its height is y2 - y1 + 1.
    """
    a, b = boxes[:, None].astype(np.float64), others[None].astype(np.float64)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
    shared = sides.clip(min=0).prod(2)
    areas = [(x[..., 2:] - x[..., :2] + 1).prod(2) for x in (a, b)]
    iou: np.ndarray = shared / (areas[0] + areas[1] - shared)
    return iou


def _select(graph: SceneGraph, chosen: np.ndarray) -> Triplets:
    """Convert the chosen (pair, predicate) entries to triplets, ordered by group."""
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
