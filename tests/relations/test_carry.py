import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from relations.carry import carry_predicates, match_to_annotation

BOX = st.tuples(*[st.integers(0, 20)] * 2, *[st.integers(1, 20)] * 2)


def boxes_of(rows: list[tuple[int, ...]]) -> torch.Tensor:
    return torch.tensor([[x, y, x + w, y + h] for x, y, w, h in rows]).float().view(-1, 4)


def test_largest_overlap_is_matched_first_and_each_box_only_once() -> None:
    annotated = torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    found = torch.tensor([[0.0, 0, 10, 6], [0, 0, 10, 9], [20, 0, 30, 4], [20, 0, 30, 10]])
    labels = torch.tensor([3, 3, 3, 5])
    match = match_to_annotation(found, labels, annotated, torch.tensor([3, 3]))
    assert match.tolist() == [-1, 0, -1, -1]
    empty = match_to_annotation(found[:0], labels[:0], annotated, torch.tensor([3, 3]))
    assert len(empty) == 0
    nothing = match_to_annotation(found, labels, annotated[:0], labels[:0])
    assert nothing.tolist() == [-1] * 4


@given(st.lists(BOX, max_size=6), st.lists(BOX, max_size=6))
@settings(max_examples=60, deadline=None)
def test_matches_are_one_to_one_and_have_the_minimum_iou(
    found: list[tuple[int, ...]], annotated: list[tuple[int, ...]]
) -> None:
    a, b = boxes_of(found), boxes_of(annotated)
    labels = torch.arange(len(a)) % 2
    match = match_to_annotation(a, labels, b, torch.arange(len(b)) % 2)
    taken = [m for m in match.tolist() if m >= 0]
    assert len(set(taken)) == len(taken)
    overlap = box_iou(a, b)
    for row, column in enumerate(match.tolist()):
        if column >= 0:
            assert overlap[row, column] >= 0.5
            assert row % 2 == column % 2
    for row in range(len(a)):  # no unmatched annotation fits an unmatched box
        if match[row] < 0:
            free = [c for c in range(len(b)) if c not in taken and row % 2 == c % 2]
            assert all(overlap[row, c] < 0.5 for c in free)


def test_predicates_are_carried_to_matched_pairs() -> None:
    predicates = torch.tensor([[0.0, 0], [1, 0], [0, 1]])
    pairs = torch.tensor([[0, 1], [0, 2], [0, 3]])
    match = torch.tensor([0, 2, -1, 1])
    assert carry_predicates(pairs, match, predicates).tolist() == [[0, 1], [0, 0], [1, 0]]
    nobody = torch.tensor([-1, 2, -1, 1])
    assert carry_predicates(pairs, nobody, predicates).sum() == 0
    assert carry_predicates(pairs[:0], match, predicates).shape == (0, 2)
