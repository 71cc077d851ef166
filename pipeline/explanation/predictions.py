"""Types of predicted actions and their reasons."""

from dataclasses import dataclass

from pipeline.config.typed_json import TypedJson


@dataclass(frozen=True)
class TokenContribution(TypedJson):
    """Contribution of a token to an action.

    Attributes:
        token: the token.
        contribution: logit with the token, less the logit without it.
    """

    token: int
    contribution: float


@dataclass(frozen=True)
class TransitionContribution(TypedJson):
    """Contribution of both tokens of a transition to an action.

    Attributes:
        transition: the transition.
        contribution: sum of the contributions of its tokens.
    """

    transition: int
    contribution: float


@dataclass(frozen=True)
class Statement(TypedJson):
    """What one track states in a reason.

    Attributes:
        kind: `change`, `lasting` or `none`.
        object: object class, or None.
        track: track of the object, or None.
        group: predicate group, or None.
        from_: predicate before a change, or None.
        to: predicate after a change, or lasting predicate, or None.
        between_s: times in seconds, or None.
    """

    kind: str
    object: str | None
    track: int | None
    group: str | None
    from_: str | None
    to: str | None
    between_s: tuple[float, float] | None


#: Statement of a reason without tokens.
NOTHING = Statement("none", None, None, None, None, None, None)


@dataclass(frozen=True)
class Reason(Statement):
    """Reason of an action, see `docs/reasons.md`.

    Attributes:
        tokens: tokens of the minimal reason R.
        score_only: score from R alone, p(R).
        score_without: score from the other kept tokens, p(S - R).
        score_without_track: score from the kept tokens of the other tracks, or None.
        score_if_unchanged: score if the change is undone, or None.
        also: what the other tracks of R state.
    """

    tokens: tuple[int, ...]
    score_only: float
    score_without: float
    score_without_track: float | None
    score_if_unchanged: float | None
    also: tuple[Statement, ...]


@dataclass(frozen=True)
class Prediction(TypedJson):
    """Predicted action.

    Attributes:
        rank: rank by score, from 1.
        class_id: id of the action class.
        name: name of the action class.
        score: score.
        score_calibrated: score with the temperature of the run.
        logit: logit of the score.
        is_present: whether the score is at least `predict.threshold`.
        window: window with the highest score, which is explained.
        evidence: contribution of each kept token of the window, in descending order.
        transitions: transitions with a positive contribution, in descending order.
        reason: the reason.
        sentence: the reason in words.
    """

    rank: int
    class_id: str
    name: str
    score: float
    score_calibrated: float
    logit: float
    is_present: bool
    window: int
    evidence: tuple[TokenContribution, ...]
    transitions: tuple[TransitionContribution, ...]
    reason: Reason
    sentence: str
