"""Charades' CSV and class files, with their documented oddities."""

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
    """A row of the CSV.

    Attributes:
        split: `train` or `test`.
        length_s: seconds.
        actions: (class index, start_s, end_s) with start <= end <= length; several of one class
            may occur. An interval that ends before it starts is kept with its ends swapped.
    """

    split: str
    subject: str
    scene: str
    length_s: float
    actions: tuple[Action, ...]


@dataclass(frozen=True)
class Charades:
    """Both splits.

    Attributes:
        classes: (id, name) of the C actions in order.
        videos: id -> row.
        errors: id -> what is wrong with its row.
    """

    classes: tuple[tuple[str, str], ...] = ()
    videos: dict[str, CharadesVideo] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


def read_charades(files: dict[str, Path]) -> Charades:
    """Read what there is of the CSVs and the class file.

    Raises:
        UsageError: if a CSV comes without the class file, or a header or class line is wrong.
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
                found.errors[video_id] = f"{path.name}:{number}: one row per id expected"
                continue
            try:
                found.videos[video_id] = _video(row, split, index)
            except (ValueError, TypeError) as error:
                found.errors[video_id] = f"{path.name}:{number}: {error}"
    return found


def read_classes(path: Path) -> tuple[tuple[str, str], ...]:
    """Lines `cNNN name` with rising ids, all 157 or some; UsageError for any other line."""
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1):
        match = _CLASS_LINE.fullmatch(line.strip())
        if match is None or (rows and match[1] <= rows[-1][0]):
            raise UsageError(f"{path}:{number}: 'cNNN NAME', ids rising, expected, got {line!r}")
        rows.append((match[1], match[2]))
    if not rows:
        raise UsageError(f"{path}: action classes expected, the file is empty")
    return tuple(rows)


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise UsageError(
                    f"{path}: the columns {','.join(COLUMNS)} expected, {missing[0]!r} is missing"
                )
            return [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UsageError(f"{path}: a CSV file expected: {error}") from error


def _video(row: dict[str, str], split: str, index: dict[str, int]) -> CharadesVideo:
    if not is_safe_id(row["id"]):
        raise ValueError(f"an id of letters, digits, '_', '-' expected, got {row['id'][:40]!r}")
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
        raise ValueError(f"{what}: seconds expected, got {text[:40]!r}")
    return value
