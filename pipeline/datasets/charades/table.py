"""Reader of the CSV and class files of Charades, including their known irregularities."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.datasets.annotations import Action
from pipeline.datasets.charades.locate import CLASSES, TEST, TRAIN
from pipeline.datasets.ids import is_safe_id, without_video_suffix
from pipeline.datasets.text_files import read_text
from pipeline.errors import UsageError

#: Columns of the release.
COLUMNS = (
    "id", "subject", "scene", "quality", "relevance", "verified", "script", "objects",
    "descriptions", "actions", "length",
)  # fmt: skip
#: Required columns. `subject` and `scene` are stored if they exist; all other columns are ignored.
REQUIRED = ("id", "actions", "length")
_DELIMITERS = (",", ";", "\t")
_CLASS_LINE = re.compile(r"(c\d{3})(?:\s*[,;]\s*|\s+)(\S.*)")


@dataclass(frozen=True)
class CharadesVideo:
    """Labels of one video, from a row of a CSV file.

    Attributes:
        split: `train` or `test`.
        subject: id of the filmed person, or None if the file has no such column.
        scene: name of the place, or None if the file has no such column.
        length_s: length of the video, in seconds.
        actions: (class index, start_s, end_s) of each action, with start <= end <= length. One
            class may occur several times. If an interval ends before it starts, its ends are
            swapped. Times beyond the length are clipped to it.
    """

    split: str
    subject: str | None
    scene: str | None
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
        UsageError: if there is a CSV file but no class file, a file has another encoding
            (`read_text`), or a header, a class line or a row without an id is malformed.
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
        for number, row, problem in _rows(path):
            video_id = row["id"]
            if video_id in found.videos or video_id in found.errors:
                found.videos.pop(video_id, None)
                found.errors[video_id] = (
                    f"{path.name}:{number}: one row per id expected, got a second one"
                )
                continue
            try:
                if problem:
                    raise ValueError(problem)
                found.videos[video_id] = _video(row, split, index)
            except ValueError as error:
                found.errors[video_id] = f"{path.name}:{number}: {error}"
    return found


def read_classes(path: Path) -> tuple[tuple[str, str], ...]:
    """Read a class file.

    Each line is `cNNN NAME`, with increasing ids. A comma, a semicolon or a tab may separate the id
    and the name. Blank lines are ignored.

    Returns:
        (id, name) of each class.

    Raises:
        UsageError: if a line has another format, or the file is empty or has another encoding.
    """
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if not line.strip():
            continue
        match = _CLASS_LINE.fullmatch(line.strip())
        if match is None or (rows and match[1] <= rows[-1][0]):
            raise UsageError(
                f"{path}:{number}: 'cNNN NAME' with increasing ids expected, got {line[:80]!r}"
            )
        rows.append((match[1], match[2]))
    if not rows:
        raise UsageError(f"{path}: action classes expected, but the file is empty")
    return tuple(rows)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str], str | None]]:
    """Yield the line number, the columns and the problem of each row, without blank rows."""
    text = read_text(path)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text, path))
        header = [name.strip() for name in next(reader)]
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            row = dict(zip(header, cells, strict=False))
            row["id"] = without_video_suffix(row.get("id", "").strip())
            if not row["id"]:
                raise UsageError(f"{path}:{reader.line_num}: an id expected, got a row without one")
            is_whole = len(cells) >= len(header) and not any(cells[len(header) :])
            problem = (
                f"{len(header)} columns expected as in the header, got {len(cells)}; quote values "
                "that contain the delimiter or a line end"
            )
            yield reader.line_num, row, None if is_whole else problem
    except csv.Error as error:
        raise UsageError(f"{path}: malformed CSV file: {error}") from error


def _delimiter(text: str, path: Path) -> str:
    """Return the delimiter with which the first line contains all required columns."""
    first = text.split("\n", 1)[0].rstrip("\r")
    missing: dict[str, list[str]] = {}
    for delimiter in _DELIMITERS:
        header = [name.strip() for name in next(csv.reader([first], delimiter=delimiter), [])]
        missing[delimiter] = [name for name in REQUIRED if name not in header]
        if not missing[delimiter]:
            return delimiter
    fewest = min(missing.values(), key=len)
    raise UsageError(
        f"{path}: a header with the columns {', '.join(REQUIRED)} expected, separated by commas, "
        f"semicolons or tabs, but {fewest[0]!r} is missing in {first[:80]!r}"
    )


def _video(row: dict[str, str], split: str, index: dict[str, int]) -> CharadesVideo:
    if not is_safe_id(row["id"]):
        raise ValueError(
            f"id of letters, digits, '.', '_' and '-' expected, got {row['id'][:40]!r}"
        )
    length = _seconds(row["length"], "length")
    actions = [_action(text, index, length) for text in row["actions"].split(";") if text.strip()]
    return CharadesVideo(split, row.get("subject"), row.get("scene"), length, tuple(actions))


def _action(text: str, index: dict[str, int], length: float) -> Action:
    parts = text.split()
    if len(parts) != 3:
        raise ValueError(f"actions: 'cNNN START END' expected, got {text[:40]!r}")
    if parts[0] not in index:
        raise ValueError(
            f"actions: a class of {CLASSES} expected, got {parts[0][:40]!r}; list all classes "
            "there, and select the classes of a network with the setting classes=[...]"
        )
    ends = sorted(_seconds(part, "actions") for part in parts[1:])
    return index[parts[0]], min(ends[0], length), min(ends[1], length)


def _seconds(text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e6:
        raise ValueError(
            f"{what}: time in seconds with a decimal point expected, got {text[:40]!r}"
        )
    return value
