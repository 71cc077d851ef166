"""Ids that may become file names."""

import re

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10))]
)


def is_safe_id(text: str) -> bool:
    """Whether an id is 1 to 128 of `A-Za-z0-9._-`, starts with none of `.-`, and is no device."""
    return bool(_SAFE.fullmatch(text)) and text.split(".")[0].lower() not in _DEVICES
