"""Paths in list files, and rejection of URLs."""

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

LIST_SUFFIX = ".txt"
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)


def reject_url(path: str | Path, where: str) -> None:
    """Raise an error if a path is a URL. A drive letter such as `C:` is no URL.

    Args:
        path: path or URL. In a `Path`, the double slash of a URL is a single one.
        where: argument or list line of the path, used in the message.

    Raises:
        UsageError: if the path is a URL and no file with this name exists.
    """
    found = _URL.fullmatch(str(path))
    if found and not Path(path).exists():
        raise UsageError(
            f"{where}: URLs are not fetched: {found[1]}://{found[2]}; download the video and give "
            "the path of the file"
        )


def expand_lists(paths: Sequence[Path], where: str) -> list[Path]:
    """Replace each list file by the paths that it contains.

    A list file ends in `.txt` and contains one path per line. Empty lines and lines that begin with
    `#` are skipped. A relative path is resolved against the working directory first, and then
    against the folder of the list.

    Args:
        paths: paths of videos, folders or list files.
        where: name of the argument, used in error messages.

    Raises:
        UsageError: if a list is not text or contains no path, or a path is a URL.
    """
    expanded = []
    for path in paths:
        reject_url(path, where)
        expanded += _read(path) if path.suffix.lower() == LIST_SUFFIX else [path]
    return expanded


def _read(path: Path) -> list[Path]:
    if path.is_dir():
        return [path]
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise UsageError(f"list of videos not found: {path}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: a text file with one path per line expected: {error}") from error
    found = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if text and not text.startswith("#"):
            reject_url(text, f"{path}:{number}")
            beside = path.parent / text
            found.append(beside if not Path(text).exists() and beside.exists() else Path(text))
    if not found:
        raise UsageError(f"{path}: a text file with one path per line expected, got no path")
    return found
