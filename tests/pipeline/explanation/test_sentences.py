from dataclasses import replace

import pytest

from pipeline.explanation.observations import Token
from pipeline.explanation.predictions import NOTHING, Reason, Statement
from pipeline.explanation.sentences import sentence_of, times
from pipeline.explanation.wording import load_wording
from tests.pipeline.explanation.token_maker import make_name, make_token

WORDS = load_wording("action_genome")
HOLDING = Reason(
    kind="change",
    object="cup/glass/bottle",
    track=0,
    group="contacting",
    from_="holding",
    to="not_contacting",
    between_s=(4.1, 4.5),
    tokens=(0, 1),
    score_only=0.83,
    score_without=0.4,
    score_without_track=0.03,
    score_if_unchanged=0.12,
    also=(),
)


def token(
    time_s: float, track: int = 0, status: str = "confident", predicates: tuple[str, ...] = ()
) -> Token:
    return make_token(0, time_s, make_name("contacting", *predicates, status=status), track=track)


def say(name: str, score: float, reason: Reason, tokens: list[Token]) -> str:
    return sentence_of(name, score, reason, tokens, WORDS)


def test_sentence_of_a_change_states_what_would_be_without_it() -> None:
    assert say("Putting a cup somewhere", 0.841, HOLDING, [token(4.1), token(4.5)]) == (
        "Putting a cup somewhere (0.84): the person is holding the cup at 4.1 s and no longer "
        "touches it at 4.5 s. Had the cup still been held, the score would be 0.12."
    )


def test_names_that_are_not_confident_have_a_question_mark() -> None:
    said = say("Put", 0.8, HOLDING, [token(4.1), token(4.5, status="uncertain")])
    assert "is holding the cup at 4.1 s and no longer touches it (?) at 4.5 s" in said
    said = say("Put", 0.8, HOLDING, [token(4.1, 1, "uncertain"), token(4.1), token(4.5)])
    assert "(?)" not in said


def test_a_relation_that_still_holds_is_not_said_to_have_ended() -> None:
    wiping = replace(HOLDING, to="wiping")
    later = token(4.5, predicates=("wiping", "holding"))
    assert say("Wash", 0.8, wiping, [token(4.1), later]).endswith(
        "is holding the cup at 4.1 s and is wiping it at 4.5 s. Without this change, the score "
        "would be 0.12."
    )


def test_sentence_of_a_lasting_relation_names_its_objects() -> None:
    table = Statement("lasting", "table", 1, "contacting", None, "leaning_on", (2.0, 2.0))
    clothes = replace(
        HOLDING,
        kind="lasting",
        object="clothes",
        from_=None,
        to="holding",
        between_s=(1.0, 3.0),
        also=(table,),
    )
    assert say("Work", 0.9, clothes, []) == (
        "Work (0.90): the person is holding the clothes between 1.0 s and 3.0 s, and is leaning on "
        "the table at 2.0 s. Without the clothes, the score would be 0.03."
    )
    unnamed = replace(clothes, also=(), to=None)
    assert "the person is with the clothes (?) between 1.0 s" in say("W", 0.9, unnamed, [])


def test_sentence_without_a_reason_says_so() -> None:
    none = replace(HOLDING, **vars(NOTHING), score_only=0.58)
    assert say("Hold", 0.6, none, []) == (
        "Hold (0.60): no relation is needed, the score without any is 0.58."
    )


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(1.0, 1.0, ("1.0", "1.0")), (1.01, 1.04, ("1.01", "1.04")), (1.0, 1.26, ("1.0", "1.3"))],
)
def test_times_have_a_second_decimal_only_if_needed(
    start: float, end: float, expected: tuple[str, str]
) -> None:
    assert times(start, end) == expected
