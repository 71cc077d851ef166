"""Videos of a folder, with their ids."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from pipeline.datasets.ids import SUFFIXES, is_safe_id
from pipeline.decoding.frame_folder import RATE_FILE, is_numbered, numbered_images
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.files import file_sha256, json_sha256


class Ids(StrEnum):
    """Source of the ids of videos: their file names, or their paths relative to the folder."""

    NAME = "name"
    PATH = "path"


@dataclass(frozen=True)
class VideoFile:
    """Path and id of a video file or frame folder. Its results are stored under the id."""

    path: Path
    video_id: str


def video_id_of(path: Path, *, dumped: bool = False, root: Path | None = None) -> str:
    """Return the id of a video, which is its file name without the suffix.

    With `root`, the id also contains the folders between `root` and the video, joined by two
    underscores: `run/0001.mp4` has the id `run__0001`.

    A dot in the name of a frame folder (`dumped`) begins a suffix only if it is that of a video.

    If this name is not a safe id (`is_safe_id`), the id consists of the safe characters of the name
    and eight digits of its hash. Different names therefore have different ids.
    """
    if dumped and path.suffix.lower() not in SUFFIXES:
        path = Path(f"{path}.frames")
    folders = () if root is None else path.relative_to(root).parent.parts
    name = "__".join((*folders, path.stem))
    if is_safe_id(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    kept = re.sub(r"[^A-Za-z0-9_-]+", "_", name).strip("_-")[:60]
    return f"{kept or 'video'}-{digest}"


def list_videos(
    folder: Path, *, dumped: bool = False, flag: str = "--videos", ids: Ids = Ids.NAME
) -> list[VideoFile]:
    """List the videos of a folder and its subfolders, sorted by id.

    Symbolic links are followed. Files and folders whose names begin with a dot are skipped.

    Args:
        folder: folder to search.
        dumped: whether to list folders of dumped frames (`ID.mp4/000001.png` or `ID/000001.png`)
            instead of video files.
        flag: command-line flag of the folder, used in error messages.
        ids: source of the ids.

    Returns:
        One entry per file. All files with the same id are listed; the caller must reject them.

    Raises:
        UsageError: if a folder does not exist or cannot be read, or no video is found.
    """
    if not folder.is_dir():
        raise UsageError(f"{flag}: folder not found: {folder}")
    top = folder if ids is Ids.PATH else None
    if dumped:
        return _list_dumped(folder, flag, top)
    paths = [
        root / name
        for root, names in _walk(folder)
        for name in names
        if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
    ]
    # Broken links are listed, so that they are reported as failures. Pipes and devices are
    # omitted.
    paths = [path for path in paths if path.is_file() or not path.exists()]
    if not paths:
        raise UsageError(
            f"{flag}: no video found in {folder} (suffixes: {', '.join(sorted(SUFFIXES))}); for "
            "dumped frames set decode.backend=frames"
        )
    return in_order(VideoFile(path, video_id_of(path, root=top)) for path in paths)


def count_ignored(folder: Path) -> dict[str, int]:
    """Count the files of a folder that `list_videos` does not list as videos.

    Hidden files are not counted.

    Args:
        folder: folder of video files.

    Returns:
        Mapping from suffix in lower case to number of files, in descending order of the number.
        Files without a suffix are counted under the empty suffix.
    """
    names = (name for _, names in _walk(folder) for name in names if not name.startswith("."))
    suffixes = Counter(Path(name).suffix.lower() for name in names)
    return {suffix: n for suffix, n in suffixes.most_common() if suffix not in SUFFIXES}


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Yield each folder once, with the names of its files. Hidden folders are skipped."""
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
    raise UsageError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def _list_dumped(folder: Path, flag: str, root: Path | None) -> list[VideoFile]:
    found = []
    for path, names in _walk(folder):
        if any(is_numbered(name) for name in names):
            found.append(VideoFile(path, video_id_of(path, dumped=True, root=root)))
    if not found:
        raise UsageError(
            f"{flag}: no folder of frames such as ID.mp4/000001.png found in {folder}; for "
            "video files set decode.backend=pyav"
        )
    return in_order(found)


def video_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a video file or frame folder.

    The hash of a file covers its bytes. The hash of a folder covers the names and bytes of its
    frames and of `fps.txt`.

    Args:
        path: path of the file or folder.

    Raises:
        ItemError: MISSING_VIDEO if the path does not exist.
    """
    try:
        if not path.is_dir():
            return file_sha256(path)
        files = [path / RATE_FILE] if (path / RATE_FILE).is_file() else []
        return json_sha256([[f.name, file_sha256(f)] for f in files + numbered_images(path)])
    except FileNotFoundError as error:
        problem = f"{path}: video not found"
        raise ItemError(FailureReason.MISSING_VIDEO, problem) from error


def sort_videos(paths: Iterable[Path]) -> list[VideoFile]:
    """Return the videos with their ids in the order of `in_order`."""
    return in_order(VideoFile(path, video_id_of(path)) for path in paths)


def in_order(files: Iterable[VideoFile]) -> list[VideoFile]:
    """Sort videos by id. Videos with the same id are sorted by path."""
    return sorted(files, key=lambda file: (file.video_id, str(file.path)))
