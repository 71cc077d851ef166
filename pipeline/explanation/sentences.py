"""Sentence that describes the evidence for an action."""

from typing import Any


def sentence_of(
    name: str,
    score: float,
    tokens: list[dict[str, Any]],
    transitions: list[dict[str, Any]],
    all_tokens: list[dict[str, Any]],
    *,
    is_empty: bool,
) -> str:
    """Describe the evidence for an action in one sentence.

    The sentence names the transition with the largest contribution. Without transitions, it names
    the two tokens with the largest contributions.

    Args:
        name: name of the action.
        score: probability of the action.
        tokens: tokens with a positive contribution, largest first.
        transitions: transitions with a positive contribution, largest first.
        all_tokens: all tokens of the video, to which transitions refer by index.
        is_empty: whether no token is kept.

    Returns:
        The sentence. Every name that is not confident is followed by a question mark.
    """
    head = f"{name} ({score:.2f})"
    if is_empty:
        return f"{head}: no evidence selected, the class token alone determines the score."
    if transitions:
        return f"{head}: {_change(transitions[0], all_tokens)}."
    if tokens:
        return f"{head}: {'; '.join(_relation(token) for token in tokens[:2])}."
    return f"{head}: no kept relation supports it."


def _change(transition: dict[str, Any], tokens: list[dict[str, Any]]) -> str:
    first, last = (tokens[i] for i in transition["tokens"])
    said = [
        _words(transition[end], _name(token, transition["group"]))
        for end, token in (("from", first), ("to", last))
    ]
    return (
        f"person {said[0]} {transition['object']} at {first['time_s']:.1f} s, "
        f"{said[1]} {transition['object']} at {last['time_s']:.1f} s"
    )


def _relation(token: dict[str, Any]) -> str:
    known = [name for name in token["names"] if name["predicate"] is not None]
    said = _words(known[-1]["predicate"], known[-1]) if known else "with"
    return f"person {said} {token['object']['class']} at {token['time_s']:.1f} s"


def _name(token: dict[str, Any], group: str) -> dict[str, Any]:
    return next(name for name in token["names"] if name["group"] == group)


def _words(predicate: str, name: dict[str, Any]) -> str:
    mark = "" if name["status"] == "confident" else " (?)"
    return f"{predicate.replace('_', ' ')}{mark}"
