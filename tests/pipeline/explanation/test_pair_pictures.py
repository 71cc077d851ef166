"""Boxes and names of pairs on pages, on pictures and in exports."""

from dataclasses import replace

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.exports.exported import boxes_by_frame
from pipeline.explanation.media.canvas import marks_of
from pipeline.explanation.media.pairs import ShownPair
from pipeline.explanation.observations import Pairs, Token, Transition
from pipeline.explanation.predictions import TransitionContribution
from pipeline.explanation.report.drawing import draw
from pipeline.explanation.report.page import report_page
from pipeline.explanation.wording import load_wording
from tests.pipeline.explanation.report.explanation_maker import make_explanation
from tests.pipeline.explanation.test_pair_sentences import token

#: Two hands with a cup, a head, and the state of a microwave that also contains the bowl.
TOKENS = [
    token(0, "hand_1 cup_1", "not_holding", 0),
    token(0, "hand_2 cup_1", "holding", 1),
    token(0, "head cup_1", "apart", 2),
    token(0, "microwave bowl", "containing", 3),
    token(0, "microwave microwave", "closed", 4),
]


def explained(tokens: list[Token] = TOKENS) -> Explanation:
    """Return an explanation with these tokens of one frame and without actions."""
    made = make_explanation(frames=1, actions=0, objects=(), images=False)
    rows = [replace(row, id=i, frame_index=3) for i, row in enumerate(tokens)]
    kinds = Pairs("hand", "hand", ("cup",)), Pairs("state", None, ("microwave",))
    return replace(made, tokens=tuple(rows), vocabulary="cad120", pairs=kinds)


def test_each_box_of_several_pairs_is_drawn_once_without_contradiction() -> None:
    pairs = [ShownPair(row, row.human.box, row.object.box, True) for row in TOKENS]
    marks = marks_of(pairs, 1.0, load_wording("cad120"))
    assert [(mark.label, mark.is_human) for mark in marks] == [
        ("cup: holding, apart", False),
        ("bowl: containing", False),
        ("microwave: closed", False),
        ("hand", True),
        ("hand", True),
        ("head", True),
    ]


def test_exported_boxes_occur_once_and_no_hand_is_a_person() -> None:
    (frame,) = boxes_by_frame(explained())
    assert [(row.class_, row.track, row.relations) for row in frame.boxes] == [
        ("hand", None, ()),
        ("hand", None, ()),
        ("head", None, ()),
        ("cup", 0, ("holding", "apart")),
        ("bowl", 3, ("containing",)),
        ("microwave", 4, ("closed",)),
    ]
    assert frame.persons == ()


def test_page_draws_the_boxes_of_the_pair_and_states_the_kinds_of_pairs() -> None:
    explanation = explained()
    pair, single = draw(explanation, TOKENS[0], ""), draw(explanation, TOKENS[4], "")
    assert (pair.human.label, pair.human.rect["width"]) == ("hand", 5.0)
    assert (single.human.label, single.human.rect["width"]) == ("", 0.0)
    page = report_page(explanation)
    assert "The network reads pairs of detected boxes" in page
    assert "the state of microwave" in page
    assert "hand and cup" in page
    assert "microwave and microwave" not in page
    assert 'id="people"' not in page
    whole = report_page(replace(explanation, pairs=()))
    assert 'id="people"' in whole
    assert 'id="pairs"' not in whole


def test_page_draws_the_change_that_contributes_most() -> None:
    made = make_explanation(frames=6, actions=2, objects=("cup",), images=False, seed=3)
    first, last = made.tokens[0], made.tokens[-1]
    change = Transition(
        0, first.track, "cup", "spatial", "open", "closed", (first.time_s, 99.0), (0, last.id)
    )
    rows = [
        replace(row, transitions=parts)
        for row, parts in zip(
            made.predictions, ((TransitionContribution(0, 0.5),), ()), strict=True
        )
    ]
    page = report_page(replace(made, transitions=(change,), predictions=tuple(rows)))
    assert page.count("Change that contributes most: cup: from open to closed") == 1
