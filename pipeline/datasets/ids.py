"""Ids of videos, which are safe as file names."""

import re
from pathlib import PurePosixPath

#: Suffixes of video files.
SUFFIXES = frozenset((
    ".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv",
    ".gif", ".3gp", ".ogv", ".mts", ".m2ts", ".vob", ".asf", ".f4v", ".mxf",
))  # fmt: skip

_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_DEVICES = frozenset(
    ["con", "prn", "aux", "nul", *(f"{p}{n}" for p in ("com", "lpt") for n in range(1, 10))]
)


def is_safe_id(text: str) -> bool:
    """Return whether an id is safe as a file name on every system.

    A safe id has 1 to 128 characters of `A-Za-z0-9._-`, does not start with `.` or `-`, and is not
    the name of a Windows device (`con`, `nul`, ...).
    """
    return bool(_SAFE.fullmatch(text)) and text.split(".")[0].lower() not in _DEVICES


def without_video_suffix(name: str) -> str:
    """Return a file name without the suffix of a video, such as "46GP8" for "46GP8.mp4"."""
    path = PurePosixPath(name)
    return name[: -len(path.suffix)] if path.suffix.lower() in SUFFIXES else name
