"""Reader of SHA-256 lists of videos, in the formats of `sha256sum` and `sha256sum --tag`.

The sums detect every changed byte. H.264 files contain no checksums, so a flipped bit may change
the decoded pixels without an error.
"""

import re
from pathlib import Path

from pipeline.datasets.text_files import read_text
from pipeline.errors import UsageError

_LINE = re.compile(r"(\\?)([0-9a-fA-F]{64}) [ *](.+)")
_TAGGED = re.compile(r"(\\?)SHA256 \((.+)\) = ([0-9a-fA-F]{64})")
_MOST_BYTES = 1 << 28


def read_checksums(path: Path, *, by_path: bool = False) -> dict[str, str]:
    """Read a list of SHA-256 sums.

    Folders in the listed names are ignored, because the files may have been moved, unless `by_path`
    is True.

    Args:
        path: path of the list, see `read_text` for its encodings.
        by_path: whether names include their folders, relative to the folder of the videos.

    Returns:
        Mapping from name to hexadecimal SHA-256.

    Raises:
        UsageError: if the file cannot be read, has another encoding, is larger than 256 MB, is
            empty, has a line in another format, or lists two sums for one name.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"at most {_MOST_BYTES} bytes expected, {path} is larger")
        text = read_text(path, errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"--checksums: cannot read {path}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"--checksums: lines of sha256sum expected: {error}") from error
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if not line.rstrip("\r"):
            continue
        plain = _LINE.fullmatch(line.rstrip("\r"))
        tagged = _TAGGED.fullmatch(line.rstrip("\r"))
        match = plain or tagged
        if not match:
            raise UsageError(
                f"--checksums: {path}:{number} is not a line of sha256sum (64 hex digits, two "
                "spaces, a file name)"
            )
        sha256, name = match[2 if plain else 3].lower(), match[3 if plain else 2]
        name = _unescape(name) if match[1] else name
        name = name.removeprefix("./") if by_path else name.rsplit("/", 1)[-1]
        if found.setdefault(name, sha256) != sha256:
            raise UsageError(
                f"--checksums: one sum per name expected, {path}:{number} lists a second sum of "
                f"{name!r}"
            )
    if not found:
        raise UsageError(f"--checksums: lines of sha256sum expected, but {path} is empty")
    return found


def _unescape(name: str) -> str:
    """Replace the GNU escapes of line feeds, carriage returns and backslashes in a name."""
    shown = {"n": "\n", "r": "\r", "\\": "\\"}
    return re.sub(r"\\([nr\\])", lambda match: shown[match[1]], name)
