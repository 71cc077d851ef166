"""Sentences about pairs of the hands, the head and the microwave of CAD-120."""

from dataclasses import replace

from pipeline.explanation.observations import Box, Token
from pipeline.explanation.predictions import Reason, Statement
from pipeline.explanation.sentences import sentence_of
from pipeline.explanation.wording import load_wording
from tests.pipeline.explanation.token_maker import make_name, make_token

WORDS = load_wording("cad120")
#: Boxes of objects by name. Hands with other numbers have other boxes.
PLACES = ("hand_1", "hand_2", "head", "cup_1", "cup_2", "microwave", "bowl", "box")


def box(name: str) -> Box:
    x = 10.0 * PLACES.index(name)
    return Box(name.split("_")[0], (x, 0.0, x + 5, 5.0), 1.0)


def token(t: int, pair: str, predicate: str, track: int = 0) -> Token:
    """Return a token at t seconds of a pair such as "hand_1 cup_1"."""
    made = make_token(0, float(t), make_name("group", predicate), t=t, track=track)
    first, last = pair.split()
    return replace(made, human=box(first), object=box(last))


def change(kind: str, before: str, after: str, track: int = 0) -> Statement:
    return Statement("change", kind, track, "group", before, after, (1.0, 2.0))


def lasting(kind: str, predicate: str, track: int = 0) -> Statement:
    return Statement("lasting", kind, track, "group", None, predicate, (1.0, 2.0))


def said(tokens: list[Token], main: Statement, *also: Statement) -> str:
    reason = Reason(**vars(main), tokens=(0,), score_only=0.9, score_without=0.3,
                    score_without_track=0.2, score_if_unchanged=0.1, also=also)  # fmt: skip
    return sentence_of("place", 0.9, reason, tokens, WORDS).removeprefix("place (0.90): ")


def test_person_is_the_subject_of_a_change_of_a_hand() -> None:
    tokens = [token(1, "hand_1 box", "holding"), token(2, "hand_1 box", "not_holding")]
    assert said(tokens, change("box", "holding", "not_holding")) == (
        "the person is holding the box at 1.0 s and is no longer holding it at 2.0 s. Had the box "
        "still been held, the score would be 0.10."
    )


def test_microwave_and_open_objects_are_subjects() -> None:
    tokens = [
        token(1, "microwave bowl", "separate"),
        token(2, "microwave bowl", "containing"),
        token(1, "microwave microwave", "open", 1),
        token(1, "head cup_1", "apart", 2),
    ]
    parts = lasting("microwave", "open", 1), lasting("cup", "apart", 2)
    assert said(tokens, change("bowl", "separate", "containing"), *parts) == (
        "the microwave does not contain the bowl at 1.0 s and contains it at 2.0 s, and is open "
        "between 1.0 s and 2.0 s, and the person does not touch the cup with the head between 1.0 "
        "s and 2.0 s. Had the bowl still been outside, the score would be 0.10."
    )
    assert said(tokens[2:], lasting("microwave", "open", 1)) == (
        "the microwave is open between 1.0 s and 2.0 s. Without this relation, the score would be "
        "0.20."
    )


def test_second_hand_on_one_object_is_the_other_hand() -> None:
    tokens = [
        token(t, f"hand_{hand} cup_1", predicate, hand)
        for t in (1, 2)
        for hand, predicate in ((1, "holding"), (2, "not_holding"))
    ]
    parts = lasting("cup", "holding", 1), lasting("cup", "not_holding", 2)
    assert said(tokens, *parts).startswith(
        "the person is holding the cup between 1.0 s and 2.0 s, and is not holding the cup with "
        "the other hand between 1.0 s and 2.0 s."
    )
    assert said(tokens, *parts[::-1]).startswith(
        "the person is not holding the cup with one hand between 1.0 s and 2.0 s, and is holding "
        "the cup with the other hand"
    )


def test_person_still_holds_what_the_other_hand_holds() -> None:
    tokens = [token(1, "hand_1 box", "holding"), token(2, "hand_1 box", "not_holding")]
    dropped = change("box", "holding", "not_holding")
    for other, by in (("holding", " with one hand"), ("not_holding", "")):
        both = [*tokens, *(token(t, "hand_2 box", other, 1) for t in (1, 2))]
        assert f"is no longer holding it{by} at 2.0 s" in said(both, dropped)
    elsewhere = token(2, "hand_2 cup_1", "holding", 1)
    assert "with one hand" not in said([*tokens, elsewhere], dropped)


def test_second_object_of_one_class_is_another_one() -> None:
    tokens = [
        token(t, f"hand_1 cup_{cup}", predicate, cup)
        for t in (1, 2)
        for cup, predicate in ((1, "holding"), (2, "not_holding"))
    ]
    assert said(tokens, lasting("cup", "holding", 1), lasting("cup", "not_holding", 2)).startswith(
        "the person is holding the cup between 1.0 s and 2.0 s, and is not holding another cup "
        "between 1.0 s and 2.0 s."
    )
