"""The videos of a folder and the ids they go by."""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.ids import is_safe_id
from pipeline.decoding.frame_folder import RATE_FILE, is_numbered, numbered_images
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.files import file_sha256, json_sha256

SUFFIXES = frozenset((
    ".mp4", ".mkv", ".webm", ".avi", ".mov", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv",
    ".gif", ".3gp", ".ogv",
))  # fmt: skip


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


def list_videos(folder: Path, *, dumped: bool = False) -> list[VideoFile]:
    """Videos directly in a folder or below it, in the order of their ids.

    Links are followed; what begins with a dot is left out.

    Args:
        folder: where to look.
        dumped: list folders of dumped frames (`ID.mp4/000001.png` or `ID/000001.png`) instead.

    Returns:
        One entry per file; two files of one id are both listed, for the caller to refuse.

    Raises:
        UsageError: if the folder does not exist or holds none.
    """
    if not folder.is_dir():
        raise UsageError(f"--videos: a folder of videos expected, {folder} is none")
    if dumped:
        return _list_dumped(folder)
    paths = [
        root / name
        for root, names in _walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]
    # A link to nothing is listed, so that it is told of; pipes and the like are no videos.
    paths = [path for path in paths if path.is_file() or not path.exists()]
    if not paths:
        raise UsageError(
            f"--videos: at least one video expected, {folder} has no file that ends in "
            f"{', '.join(sorted(SUFFIXES))}; of dumped frames: decode.backend=frames"
        )
    return sort_videos(paths)


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders, each once, and the names of their files; links are followed, hidden ones are not."""
    seen = set()
    for root, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        found = os.stat(root)
        if (found.st_dev, found.st_ino) in seen:
            folders[:] = []
            continue
        seen.add((found.st_dev, found.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(root), sorted(names)


def _unreadable(error: OSError) -> None:
    raise UsageError(
        f"--videos: folders that can be read expected, {error.filename}: {error.strerror}"
    ) from error


def _list_dumped(folder: Path) -> list[VideoFile]:
    found = []
    for path, names in _walk(folder):
        if any(is_numbered(name) for name in names):
            name = path if path.suffix.lower() in SUFFIXES else Path(f"{path}.frames")
            found.append(VideoFile(path, video_id_of(name)))
    if not found:
        raise UsageError(
            f"--videos: folders of frames such as ID.mp4/000001.png expected with "
            f"decode.backend=frames, {folder} has none; of videos: decode.backend=pyav"
        )
    return in_order(found)


def video_sha256(path: Path) -> str:
    """SHA-256 of a video's bytes, hex; of a folder, of the names and bytes of frames and rate.

    Raises:
        ItemError: MISSING_VIDEO.
    """
    try:
        if not path.is_dir():
            return file_sha256(path)
        files = [path / RATE_FILE] if (path / RATE_FILE).is_file() else []
        return json_sha256([[f.name, file_sha256(f)] for f in files + numbered_images(path)])
    except FileNotFoundError as error:
        problem = f"{path}: a video expected, there is no file"
        raise ItemError(FailureReason.MISSING_VIDEO, problem) from error


def sort_videos(paths: Iterable[Path]) -> list[VideoFile]:
    """Give ids and sort by them."""
    return in_order(VideoFile(path, video_id_of(path)) for path in paths)


def in_order(files: Iterable[VideoFile]) -> list[VideoFile]:
    """Sort by id, files of one id by path."""
    return sorted(files, key=lambda file: (file.video_id, str(file.path)))
