"""The videos of a folder and the ids they go by."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pipeline.annotations.ids import is_safe_id
from pipeline.errors import UsageError

SUFFIXES = frozenset(
    f".{name}"
    for name in (
        *("mp4", "mkv", "webm", "avi", "mov", "m4v", "mpg", "mpeg"),
        *("ts", "wmv", "flv", "gif", "3gp", "ogv"),
    )
)


@dataclass(frozen=True)
class VideoFile:
    """A file and the id its results are stored under."""

    path: Path
    video_id: str


def video_id_of(path: Path) -> str:
    """Id of a video: its file name without suffix.

    A name that is unsafe as a file name elsewhere (spaces, `..`, control characters, 5,000
    letters) becomes its safe characters and eight digits of its hash, so that no two share an id.
    """
    if is_safe_id(path.stem):
        return path.stem
    digest = hashlib.sha256(path.stem.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", path.stem).strip("_-")[:60]
    return f"{kept or 'video'}-{digest}"


def list_videos(folder: Path) -> list[VideoFile]:
    """Videos directly in a folder or below it, in the order of their ids.

    Returns:
        One entry per file; two files of one id are both listed, for the caller to refuse.

    Raises:
        UsageError: if the folder does not exist or has no file with a video's suffix.
    """
    if not folder.is_dir():
        raise UsageError(f"--videos: a folder of videos expected, {folder} is none")
    paths = [
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not paths:
        raise UsageError(
            f"--videos: at least one video expected, {folder} has no file that ends in "
            f"{', '.join(sorted(SUFFIXES))}"
        )
    return sort_videos(paths)


def sort_videos(paths: Iterable[Path]) -> list[VideoFile]:
    """Give ids and sort by them."""
    files = [VideoFile(path, video_id_of(path)) for path in paths]
    return sorted(files, key=lambda file: (file.video_id, str(file.path)))
