"""Tokens and names with the fields that a test is about."""

from typing import Any

from pipeline.explanation.observations import Box, Name, Token


def make_name(group: str, *predicates: str, status: str = "confident") -> Name:
    """Return a name with predicates, the first of which is shown."""
    shown = predicates[0] if predicates else None
    return Name(group, shown, predicates, 0.5, 0.1 if predicates else 0.0, status, None, None)


def make_token(number: int, time_s: float, *names: Name, kind: str = "box", **fields: Any) -> Token:
    """Return a kept token of an object class."""
    human, thing = (Box(name, (0.0, 0.0, 1.0, 1.0), 1.0) for name in ("person", kind))
    given: dict[str, Any] = {"t": 0, "k": 0, "track": 0, "frame_index": 0, "keep": True} | fields
    return Token(
        id=number,
        time_s=time_s,
        human=human,
        object=thing,
        keep_temporal=True,
        keep_spatial=True,
        keep_probability=1.0,
        names=names,
        **given,
    )
