"""Reader of the CSV and class files of Charades, including their known irregularities."""

import csv
import re
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.locate import CLASSES, TEST, TRAIN
from pipeline.errors import UsageError

COLUMNS = (
    "id", "subject", "scene", "quality", "relevance", "verified", "script", "objects",
    "descriptions", "actions", "length",
)  # fmt: skip
Action = tuple[int, float, float]
_CLASS_LINE = re.compile(r"(c\d{3}) (.+)")


@dataclass(frozen=True)
class CharadesVideo:
    """Labels of one video, from a row of a CSV file.

    Attributes:
        split: `train` or `test`.
        subject: id of the filmed person.
        scene: name of the place.
        length_s: length of the video, in seconds.
        actions: (class index, start_s, end_s) of each action, with start <= end <= length. One
            class may occur several times. If an interval ends before it starts, its ends are
            swapped. Times beyond the length are clipped to it.
    """

    split: str
    subject: str
    scene: str
    length_s: float
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Charades:
    """Action classes and videos of both splits.

    Attributes:
        classes: (id, name) of each of the C action classes, in order.
        videos: mapping from video id to row.
        errors: mapping from video id to the reason why its row cannot be used.
    """

    classes: tuple[tuple[str, str], ...] = ()
    videos: dict[str, CharadesVideo] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def read_charades(files: dict[str, Path]) -> Charades:
    """Read the CSV files of the splits and the class file.

    Args:
        files: mapping from release name to path, as returned by `locate`.

    Returns:
        Classes and videos. Both are empty if no CSV file is in `files`.

    Raises:
        UsageError: if there is a CSV file but no class file, or a header or a class line is
            malformed.
    """
    tables = {split: files[n] for split, n in (("train", TRAIN), ("test", TEST)) if n in files}
    if not tables:
        return Charades()
    if CLASSES not in files:
        raise UsageError(
            f"--annotations: {CLASSES} expected beside {next(iter(tables.values()))}, not found"
        )
    classes = read_classes(files[CLASSES])
    index = {class_id: i for i, (class_id, _) in enumerate(classes)}
    found = Charades(classes)
    for split, path in tables.items():
        for number, row in _rows(path):
            video_id = row["id"]
            if video_id in found.videos or video_id in found.errors:
                found.videos.pop(video_id, None)
                found.errors[video_id] = (
                    f"{path.name}:{number}: one row per id expected, got a second one"
                )
                continue
            try:
                found.videos[video_id] = _video(row, split, index)
            except (ValueError, TypeError) as error:
                found.errors[video_id] = f"{path.name}:{number}: {error}"
    return found


def read_classes(path: Path) -> tuple[tuple[str, str], ...]:
    """Read a class file.

    Each line is `cNNN NAME`, with increasing ids. The file may contain a subset of the 157 classes.

    Returns:
        (id, name) of each class.

    Raises:
        UsageError: if a line has another format or the file is empty.
    """
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        match = _CLASS_LINE.fullmatch(line.strip())
        if match is None or (rows and match[1] <= rows[-1][0]):
            raise UsageError(
                f"{path}:{number}: 'cNNN NAME' with increasing ids expected, got {line!r}"
            )
        rows.append((match[1], match[2]))
    if not rows:
        raise UsageError(f"{path}: action classes expected, but the file is empty")
    return tuple(rows)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(
                    f"{path}: columns {','.join(COLUMNS)} expected, {missing[0]!r} is missing"
                )
            return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path}: malformed CSV file: {error}") from error


def _video(row: dict[str, str], split: str, index: dict[str, int]) -> CharadesVideo:
    if not is_safe_id(row["id"]):
        raise ValueError(
            f"id of letters, digits, '.', '_' and '-' expected, got {row['id'][:40]!r}"
        )
    length = _seconds(row["length"], "length")
    actions = [_action(text, index, length) for text in row["actions"].split(";") if text.strip()]
    return CharadesVideo(split, row["subject"], row["scene"], length, tuple(actions))


def _action(text: str, index: dict[str, int], length: float) -> Action:
    parts = text.split()
    if len(parts) != 3 or parts[0] not in index:
        raise ValueError(f"actions: 'cNNN START END' of a known class expected, got {text[:40]!r}")
    ends = sorted(_seconds(part, "actions") for part in parts[1:])
    return index[parts[0]], min(ends[0], length), min(ends[1], length)


def _seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ValueError(f"{what}: time in seconds expected, got {text[:40]!r}")
    return value
