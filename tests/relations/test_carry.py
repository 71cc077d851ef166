import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_iou

from relations.carry import match_to_annotation

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


def test_partial_person_matches_the_person_that_contains_it() -> None:
    found = torch.tensor([[0.0, 0, 40, 100], [50, 0, 90, 100], [10, 10, 20, 20]])
    labels = torch.tensor([0, 0, 1])
    annotated = torch.tensor([[55.0, 5, 80, 30], [10, 10, 20, 20]])
    kinds = torch.tensor([0, 1])
    assert match_to_annotation(found, labels, annotated, kinds).tolist() == [-1, -1, 1]
    match = match_to_annotation(found, labels, annotated, kinds, is_person_partial=True)
    assert match.tolist() == [-1, 0, 1]
