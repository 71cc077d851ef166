"""Checked access to the values of an unpickled annotation.

The ValueError of each function names the key, what was expected and what was found.
"""

import reprlib
from typing import Any

import numpy as np

_NO_DEFAULT = object()
_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxother = 3, 60, 60


def value_of(entry: Any, key: str, default: Any = _NO_DEFAULT) -> Any:
    """Return the value of a key.

    Args:
        entry: a dict.
        key: key of the value.
        default: value of a missing key. Without a default, the key is required.

    Raises:
        ValueError: if the entry is not a dict, or a required key is missing.
    """
    if not isinstance(entry, dict):
        raise ValueError(f"a dict with the key {key!r} expected, got {described(entry)}")
    if key in entry:
        return entry[key]
    if default is _NO_DEFAULT:
        there = ", ".join(str(known)[:40] for known in entry) or "none"
        raise ValueError(f"key {key!r} expected, got the keys {there[:200]}")
    return default


def flag_of(entry: Any, key: str) -> bool:
    """Return the value of a key that is True or False."""
    value = value_of(entry, key)
    if not isinstance(value, bool | np.bool_):
        raise ValueError(f"{key}: True or False expected, got {described(value)}")
    return bool(value)


def text_of(entry: Any, key: str) -> str:
    """Return the value of a key that is text."""
    value = value_of(entry, key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: text expected, got {described(value)}")
    return value


def names_of(entry: Any, key: str) -> list[str]:
    """Return the value of a key that is a list of text. None is read as an empty list."""
    value = value_of(entry, key)
    if value is None:
        return []
    is_listed = isinstance(value, list | tuple | set | frozenset)
    if not is_listed or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{key}: a list of names or None expected, got {described(value)}")
    return list(value)


def boxes_of(entry: Any, key: str, mode: str) -> list[list[float]]:
    """Return the value of a key that is one box, or a list of boxes.

    Args:
        entry: a dict.
        key: key of the boxes.
        mode: `xyxy` for boxes (x1, y1, x2, y2), `xywh` for boxes (x1, y1, width, height).

    Returns:
        Boxes (x1, y1, x2, y2).

    Raises:
        ValueError: if the value does not consist of boxes, or a box is not finite, is inverted or
            has a coordinate of 1e6 or more.
    """
    value = value_of(entry, key)
    try:
        rows = None if isinstance(value, str | bytes) else np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        rows = None
    if rows is None or rows.ndim not in (1, 2) or (rows.size and rows.shape[-1] != 4):
        raise ValueError(f"{key}: four numbers per box expected, got {described(value)}")
    boxes = rows.reshape(-1, 4)
    if mode == "xywh":
        boxes = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    for box in boxes.tolist():
        x1, y1, x2, y2 = box
        if not (np.isfinite(box).all() and x1 <= x2 and y1 <= y2 and max(map(abs, box)) < 1e6):
            raise ValueError(f"{key}: finite box with x1 <= x2 and y1 <= y2 expected, got {box}")
    return boxes.tolist()


def described(value: Any) -> str:
    """Return a value and its type as short text."""
    return f"{_SHORT.repr(value)} ({type(value).__name__})"
