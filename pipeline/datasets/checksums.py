"""Known SHA-256 of videos, in the format of `sha256sum`: what tells every changed byte.

H.264 carries no checksum: a flipped bit can decode without a word to other pixels.
"""

import re
from pathlib import Path

from pipeline.errors import UsageError

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_MOST_BYTES = 1 << 28


def read_checksums(path: Path) -> dict[str, str]:
    """File name -> SHA-256, hex.

    Names count without their folders, as the files may lie elsewhere than where they were summed.

    Raises:
        UsageError: if it is no such file, is larger than 256 MB, or says two things of one name.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"--checksums: at most {_MOST_BYTES} bytes expected, {path} has more")
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"--checksums: a file expected, {path}: {error.strerror}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.rstrip("\r"):
            continue
        match = _LINE.fullmatch(line.rstrip("\r"))
        if not match:
            raise UsageError(
                f"--checksums: lines of sha256sum (64 hex digits, two spaces, a name) expected, "
                f"{path}:{number} is none"
            )
        name = _unescape(match[3]) if match[1] else match[3]
        name, sha256 = name.rsplit("/", 1)[-1], match[2].lower()
        if found.setdefault(name, sha256) != sha256:
            raise UsageError(
                f"--checksums: one sum per name expected, {path}:{number} gives {name!r} another"
            )
    if not found:
        raise UsageError(f"--checksums: lines of sha256sum expected, {path} has none")
    return found


def _unescape(name: str) -> str:
    """GNU's escapes, used where a name holds a line feed, a carriage return or a backslash."""
    shown = {"n": "\n", "r": "\r", "\\": "\\"}
    return re.sub(r"\\([nr\\])", lambda match: shown[match[1]], name)
