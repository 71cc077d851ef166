"""Search for the folder of the release, and bounded reading of its text files."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.text_files import read_text
from pipeline.errors import UsageError

CLIPS, VIDEOS, SPLITS, KNOWLEDGE = "video_clips.txt", "all", "splits", "knowledge"
#: Largest size of a text file in bytes. The largest one of the release has 30 kB.
MAX_TEXT_BYTES = 1 << 20


def find_root(folders: Sequence[Path]) -> Path:
    """Find the folder that contains `video_clips.txt`, `all/`, `splits/` and `knowledge/`.

    Args:
        folders: folders to search, including their subfolders.

    Returns:
        The folder of the release.

    Raises:
        UsageError: if a folder does not exist, a part of the release is missing, there are two
            releases, or there is none.
    """
    found: Path | None = None
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--annotations: folder not found: {folder}")
        for path in sorted(folder.rglob(CLIPS)):
            root = path.parent
            if found and not found.samefile(root):
                raise UsageError(
                    f"--annotations: one folder with {CLIPS} expected, found {found} and {root}; "
                    "provide only the correct one, or move the other one to another folder"
                )
            found = found or root
    if found is None:
        raise UsageError(
            f"--annotations: a folder with {CLIPS}, {VIDEOS}/, {SPLITS}/ and {KNOWLEDGE}/ expected "
            f"below {', '.join(map(str, folders))}, found no {CLIPS}; for another "
            "dataset, set dataset=NAME"
        )
    for name in (VIDEOS, SPLITS, KNOWLEDGE):
        if not (found / name).is_dir():
            raise UsageError(
                f"--annotations: the folder {name} expected beside {found / CLIPS}, not found; "
                "unpack the whole release"
            )
    return found


def find_videos(root: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """Find the files `all/<subject>/<activity>/<video id>.json`.

    Hidden files and folders are ignored.

    Args:
        root: folder of the release.

    Returns:
        - Mapping from video id to path.
        - Mapping from video id to error, for ids that are not safe (`is_safe_id`) or occur twice.

    Raises:
        UsageError: if there are no such files.
    """
    paths: dict[str, Path] = {}
    errors: dict[str, str] = {}
    for path in sorted((root / VIDEOS).glob("*/*/*.json")):
        parts = (*path.parts[-3:-1], path.stem)
        if any(part.startswith(".") for part in parts):
            continue
        video_id = path.stem[:128]
        if not all(map(is_safe_id, parts)):
            errors[video_id] = (
                f"{'/'.join(parts)!r}: subject, activity and id of letters, digits, '.', '_' and "
                "'-' expected; rename the file or folder"
            )
        elif video_id in paths:
            errors[video_id] = f"one file per video id expected, got {paths[video_id]} and {path}"
        else:
            paths[video_id] = path
    if not paths and not errors:
        raise UsageError(
            f"{root / VIDEOS}: files <subject>/<activity>/<video id>.json expected, found none"
        )
    return {video_id: path for video_id, path in paths.items() if video_id not in errors}, errors


def read_lines(path: Path) -> list[tuple[int, str]]:
    """Read the lines of a text file that are not blank.

    Returns:
        (line number, stripped line) of each line. Lines are numbered from 1.

    Raises:
        UsageError: if the file does not exist, is not a text file (`read_text`), has no lines or
            more than `MAX_TEXT_BYTES`.
    """
    try:
        if not path.is_file():
            raise UsageError(f"--annotations: file not found: {path}; unpack the whole release")
        if path.stat().st_size > MAX_TEXT_BYTES:
            raise UsageError(f"{path}: a text file of at most {MAX_TEXT_BYTES >> 20} MiB expected")
        text = read_text(path)
    except OSError as error:
        raise UsageError(f"{path}: a readable file expected: {error}") from error
    lines = [(n, line.strip()) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise UsageError(f"{path}: at least one line expected, but the file is empty")
    return lines
