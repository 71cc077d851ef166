from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from relations.boxes import union_boxes
from relations.graph import RelationGraph
from relations.pairs import human_object_pairs, pairs_of_kinds
from relations.spatial_masks import spatial_masks

REFERENCE = Path(__file__).resolve().parents[1] / "reference"
coordinate = st.floats(0, 200, width=32)
box = st.tuples(coordinate, coordinate, coordinate, coordinate).map(
    lambda b: [min(b[0], b[2]), min(b[1], b[3]), max(b[0], b[2]), max(b[1], b[3])]
)
pairs_of_boxes = st.lists(st.tuples(box, box), min_size=1, max_size=5).map(
    lambda rows: torch.tensor(rows, dtype=torch.float32).unbind(1)
)


def masks_by_loops(subject: list[float], other: list[float]) -> np.ndarray:
    x0, y0 = min(subject[0], other[0]), min(subject[1], other[1])
    w, h = max(subject[2], other[2]) - x0, max(subject[3], other[3]) - y0
    out = np.zeros((2, 27, 27))
    for c, b in enumerate((subject, other)):
        x1, x2 = ((v - x0) / (w or 1) * 27 for v in (b[0], b[2]))
        y1, y2 = ((v - y0) / (h or 1) * 27 for v in (b[1], b[3]))
        for j in range(27):
            for k in range(27):
                down = min(max(j + 1 - y1, 0), 1) * min(max(y2 - j, 0), 1)
                across = min(max(k + 1 - x1, 0), 1) * min(max(x2 - k, 0), 1)
                out[c, j, k] = down * across
    return out - 0.5


@given(pairs_of_boxes)
@settings(max_examples=15, deadline=None)
def test_masks_equal_plain_loops_and_stay_in_range(
    boxes: tuple[torch.Tensor, torch.Tensor],
) -> None:
    masks = spatial_masks(*boxes)
    assert bool(((masks >= -0.5) & (masks <= 0.5)).all())
    for row, mask in enumerate(masks):
        expected = masks_by_loops(boxes[0][row].tolist(), boxes[1][row].tolist())
        np.testing.assert_allclose(mask.numpy(), expected, atol=2e-3)


def test_masks_equal_the_reference_implementation() -> None:
    z = np.load(REFERENCE / "spatial_masks.npz")
    pairs = torch.from_numpy(z["pairs"])
    got = spatial_masks(pairs[:, :4], pairs[:, 4:])
    np.testing.assert_allclose(got.numpy(), z["masks"], atol=1e-5)


@given(pairs_of_boxes, st.randoms())
@settings(max_examples=30, deadline=None)
def test_union_encloses_both_boxes_and_ignores_their_order(
    boxes: tuple[torch.Tensor, torch.Tensor], random: object
) -> None:
    subject, other = boxes
    union = union_boxes(subject, other)
    for one in boxes:
        assert bool((union[:, :2] <= one[:, :2]).all())
        assert bool((union[:, 2:] >= one[:, 2:]).all())
    assert torch.equal(union, union_boxes(other, subject))
    order = torch.randperm(len(union))
    assert torch.equal(union_boxes(subject[order], other[order]), union[order])


def test_inverted_box_is_rejected_with_its_row() -> None:
    good = torch.tensor([[0.0, 0, 1, 1], [0, 0, 1, 1]])
    bad = torch.tensor([[0.0, 0, 1, 1], [5, 0, 1, 1]])
    with pytest.raises(ValueError, match=r"object boxes: .* in row 1$"):
        union_boxes(good, bad)


@pytest.mark.parametrize(
    ("labels", "scores", "expected"),
    [
        ([], [], []),
        ([0], [0.9], []),
        ([3, 4], [0.9, 0.8], []),
        ([3, 0, 4], [0.9, 0.2, 0.8], [[1, 0], [1, 2]]),
        ([0, 0, 5], [0.3, 0.6, 0.1], [[1, 2]]),
        ([0, 0, 5], [1.0, 1.0, 1.0], [[0, 2]]),
    ],
)
def test_best_human_is_paired_with_every_object(
    labels: list[int], scores: list[float], expected: list[list[int]]
) -> None:
    pairs = human_object_pairs(
        torch.tensor(labels, dtype=torch.int64), torch.tensor(scores, dtype=torch.float32)
    )
    assert pairs.tolist() == expected
    assert pairs.shape[1] == 2


def pairs_by_loops(
    labels: list[int], kinds: list[tuple[int | None, set[int]]], human: int | None
) -> list[list[int]]:
    found = []
    for subject, classes in kinds:
        for row, label in enumerate(labels):
            if label not in classes:
                continue
            if subject is None:
                found.append([row, row])
            for first, other in enumerate(labels):
                if first != row and other == subject and (subject != 0 or first == human):
                    found.append([first, row])
    return found


@given(
    labels=st.lists(st.integers(0, 4), max_size=7),
    kinds=st.lists(
        st.tuples(st.none() | st.integers(0, 4), st.sets(st.integers(0, 4))), min_size=1, max_size=3
    ),
)
def test_pairs_of_kinds_equal_plain_loops(
    labels: list[int], kinds: list[tuple[int | None, set[int]]]
) -> None:
    rows = torch.tensor(labels, dtype=torch.int64)
    humans = [row for row, label in enumerate(labels) if label == 0]
    scores = torch.tensor([row / 10 for row in range(len(labels))])
    best = humans[-1] if humans else None
    assert pairs_of_kinds(rows, scores, kinds).tolist() == pairs_by_loops(labels, kinds, best)
    for human in humans:
        expected = pairs_by_loops(labels, kinds, human)
        assert pairs_of_kinds(rows, scores, kinds, human).tolist() == expected
    assert torch.equal(pairs_of_kinds(rows, scores, []), human_object_pairs(rows, scores))


def test_inconsistent_graph_is_rejected() -> None:
    empty = RelationGraph.empty(4, 26)
    assert len(empty) == 0
    one = (torch.tensor([[0, 1]]), torch.zeros(1, 4), torch.zeros(1, 4, 7, 7), torch.zeros(1, 26))
    assert len(RelationGraph(*one)) == 1
    with pytest.raises(ValueError, match="probabilities"):
        RelationGraph(*one[:3], one[3] - 1)
    with pytest.raises(ValueError, match="union_features"):
        RelationGraph(*one[:2], torch.zeros(1, 4, 7, 8), one[3])
