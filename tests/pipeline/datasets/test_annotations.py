import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets import ClipAnnotation, FrameAnnotation, Span


def frame(predicates: torch.Tensor, pairs: torch.Tensor | None) -> FrameAnnotation:
    num = 4
    return FrameAnnotation(
        0, torch.zeros(num, 4), torch.arange(num), predicates, None, None, pairs=pairs
    )


def test_pairs_of_the_person_have_the_predicates_of_the_object() -> None:
    known = frame(torch.eye(4).bool(), None)
    found = known.predicates_of(torch.tensor([[0, 1], [0, 3], [0, -1], [-1, 2]]))
    assert found.tolist() == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), unique=True, max_size=6))
def test_annotated_pairs_have_their_own_predicates(pairs: list[tuple[int, int]]) -> None:
    said = torch.arange(2 * len(pairs)).view(-1, 2) % 3 == 0
    known = frame(said, torch.tensor(pairs, dtype=torch.int64).view(-1, 2))
    asked = [*itertools.product(range(-1, 4), repeat=2)]
    found = known.predicates_of(torch.tensor(asked))
    for pair, row in zip(asked, found.tolist(), strict=True):
        expected = said[pairs.index(pair)].tolist() if pair in pairs else [False, False]
        assert row == expected


def test_samples_of_a_video_are_its_spans() -> None:
    spans = (Span(69, 134, 1), Span(130, 200, 0))
    cut = ClipAnnotation("V", spans=spans)
    assert cut.labels() == {"V_70_135": (1,), "V_131_201": (0,)}
    assert Span.video_of(spans[0].id("A_1_2")) == "A_1_2"
    assert cut.is_labelled
    whole = ClipAnnotation("V", actions=((3, 0.0, 1.0), (1, 0.0, 2.0), (3, 5.0, 6.0)))
    assert whole.labels() == {"V": (1, 3)}
    assert ClipAnnotation("V").labels() == {}
    assert not ClipAnnotation("V").is_labelled


def test_spans_change_the_fingerprint_of_the_labels_only() -> None:
    one, two = (ClipAnnotation("V", spans=(Span(0, last, 1),)) for last in (4, 5))
    assert one.labels_fingerprint() != two.labels_fingerprint()
    assert one.boxes_fingerprint() == two.boxes_fingerprint()


@pytest.mark.parametrize("values", [(2, 1, 0), (-1, 1, 0), (0, 1, -1)])
def test_invalid_clip_is_rejected(values: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="0 <= first <= last"):
        Span(*values)
