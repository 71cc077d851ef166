import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from relations.recall import (
    CONSTRAINTS,
    Constraint,
    SceneGraph,
    frame_recall,
    overlaps,
    predicate_recall,
    recall_table,
)

SIZES = (2, 3, 4)


def graph(seed: int, count: int, *, is_truth: bool) -> SceneGraph:
    """Return a graph of a person and `count` objects at random positions."""
    g = np.random.default_rng(seed)
    corner = g.integers(0, 3, (count + 1, 2)) * 12.0
    boxes = np.concatenate([corner, corner + 20 + g.random((count + 1, 2))], 1)
    labels = np.concatenate([[0], g.integers(1, 4, count)])
    pairs = np.stack([np.zeros(count, dtype=int), 1 + np.arange(count)], 1)
    predicates = g.random((count, sum(SIZES)))
    if is_truth:
        predicates = (predicates > 0.6).astype(float)
        predicates[:, 0] = 1
    scores = np.ones(count + 1) if is_truth else g.random(count + 1)
    return SceneGraph(boxes, labels, scores, pairs, predicates, SIZES)


def rows_in_loops(found: SceneGraph, constraint: Constraint) -> list[tuple[float, int, int, int]]:
    rows = []
    for p, (person, thing) in enumerate(found.pairs.tolist()):
        start = 0
        for group, size in enumerate(SIZES):
            said = found.predicates[p, start : start + size]
            chosen = [int(said.argmax())]
            if constraint == "no":
                chosen = list(range(size))
            elif constraint == "semi" and group:
                chosen = [k for k in range(size) if said[k] > 0.9]
            ends = (thing, person) if group == 1 else (person, thing)
            for k in chosen:
                score = found.scores[person] * found.scores[thing] * said[k]
                rows.append((score, ends[0], ends[1], start + k))
            start += size
    rows.sort(key=lambda row: -row[0])
    return rows[:100] if constraint == "no" else rows


def iou(a: np.ndarray, b: np.ndarray) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    shared = max(w, 0) * max(h, 0)
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return shared / (sum(areas) - shared)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 999), st.integers(1, 4), st.integers(0, 5), st.sampled_from(CONSTRAINTS))
def test_recall_equals_plain_loops(seed: int, G: int, P: int, constraint: Constraint) -> None:
    truth, found = graph(seed, G, is_truth=True), graph(seed + 7, P, is_truth=False)
    rows = rows_in_loops(found, constraint)
    for k in (1, 3, 10, 100):
        hits, total = 0, 0
        for p, (person, thing) in enumerate(truth.pairs.tolist()):
            for r in truth.predicates[p].nonzero()[0].tolist():
                ends = (thing, person) if 2 <= r < 5 else (person, thing)
                total += 1
                hits += any(
                    r == predicate
                    and truth.labels[ends[0]] == found.labels[subject]
                    and truth.labels[ends[1]] == found.labels[other]
                    and iou(truth.boxes[ends[0]], found.boxes[subject]) >= 0.5
                    and iou(truth.boxes[ends[1]], found.boxes[other]) >= 0.5
                    for _, subject, other, predicate in rows[:k]
                )
        assert frame_recall(truth, found, constraint).recall(k) == pytest.approx(hits / total)


def test_recall_of_the_annotated_graph_is_limited_only_by_the_constraint() -> None:
    truth = graph(3, 2, is_truth=True)
    assert frame_recall(truth, truth, "no").recall(100) == 1
    groups = [truth.predicates[:, span].any(1).sum() for span in truth.group_spans()]
    wanted = sum(groups) / truth.predicates.sum()
    assert frame_recall(truth, truth, "with").recall(100) == pytest.approx(wanted)


def test_empty_prediction_has_zero_recall_and_empty_truth_is_rejected() -> None:
    truth, nothing = graph(1, 2, is_truth=True), graph(1, 0, is_truth=False)
    for constraint in CONSTRAINTS:
        assert frame_recall(truth, nothing, constraint).recall(100) == 0
    with pytest.raises(ValueError, match="at least one annotated relation"):
        frame_recall(nothing, truth, "with")


def test_recall_is_averaged_over_frames_and_counted_per_predicate() -> None:
    frames = [
        frame_recall(graph(s, 3, is_truth=True), graph(s, 3, is_truth=False), "with")
        for s in range(20)
    ]
    by_hand = np.mean([frame.recall(20) for frame in frames])
    assert recall_table(frames, [20])[20] == pytest.approx(by_hand)
    recall, counts = predicate_recall(frames, 10, 20)
    for r in range(9):
        mine = [rank for f in frames for p, rank in zip(f.predicate, f.rank, strict=True) if p == r]
        assert counts[r] == len(mine)
        assert recall[r] == pytest.approx(np.mean([0 <= rank < 20 for rank in mine]))
    assert counts[9] == 0
    assert np.isnan(recall[9])


def test_overlaps_include_the_last_pixel() -> None:
    box = np.array([[0.0, 0.0, 9.0, 9.0]])
    assert overlaps(box, box)[0, 0] == 1
    assert overlaps(box, np.array([[10.0, 0.0, 19.0, 9.0]]))[0, 0] == 0
    assert overlaps(box, np.array([[0.0, 0.0, 9.0, 4.0]]))[0, 0] == 0.5
