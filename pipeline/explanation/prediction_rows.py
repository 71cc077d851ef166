"""The file `predictions.jsonl`, which lists the videos of an output folder."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.typed_json import TypedJson
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import FailureReason
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.formats import FILES, Format
from pipeline.runtime.files import append_line, file_state, read_rows, write_atomically
from pipeline.runtime.writers import folder_lock, living_writers

PREDICTIONS = "predictions.jsonl"


@dataclass(frozen=True)
class TopAction(TypedJson):
    """Predicted action of a row.

    Attributes:
        class_id: id of the action class.
        name: name of the action class.
        score: score.
    """

    class_id: str
    name: str
    score: float


@dataclass(frozen=True)
class PredictionRow(TypedJson):
    """Line of an explained video.

    Attributes:
        id: id of the video.
        status: `done`.
        top: the predicted actions, in descending order of their scores.
        scores: highest score of each of the C action classes in a window.
        kept: number of kept tokens.
        tokens: number of tokens.
        warnings: codes of the warnings.
        explanation: path of `explanation.json`, relative to the folder, or None.
        fingerprint: fingerprint of the explanation.
    """

    id: str
    status: str
    top: tuple[TopAction, ...]
    scores: tuple[float, ...]
    kept: int
    tokens: int
    warnings: tuple[str, ...]
    explanation: str | None
    fingerprint: str

    def __post_init__(self) -> None:
        if self.status != "done" or not is_safe_id(self.id):
            raise ValueError(
                f"the status done and a safe id expected, got {self.status}, {self.id}"
            )


@dataclass(frozen=True)
class FailedRow(TypedJson):
    """Line of a video that failed.

    Attributes:
        id: id of the video. If another file has the same id, it also contains the path.
        status: `failed`.
        reason: value of a `FailureReason`.
    """

    id: str
    status: str
    reason: str

    def __post_init__(self) -> None:
        if self.status != "failed":
            raise ValueError(f"the status failed expected, got {self.status}")
        FailureReason(self.reason)


Row = PredictionRow | FailedRow


def prediction_row(
    explanation: Explanation, scores: Sequence[float], formats: Sequence[Format]
) -> PredictionRow:
    """Return the line of an explained video.

    Args:
        explanation: the explanation.
        scores: highest score of each of the C action classes in a window.
        formats: formats in which the explanation is written.
    """
    name = f"{explanation.video.id}/{FILES[Format.JSON][0]}"
    return PredictionRow(
        id=explanation.video.id,
        status="done",
        top=tuple(TopAction(a.class_id, a.name, a.score) for a in explanation.predictions),
        scores=tuple(scores),
        kept=sum(token.keep for token in explanation.tokens),
        tokens=len(explanation.tokens),
        warnings=tuple(warning.code for warning in explanation.warnings),
        explanation=name if Format.JSON in formats else None,
        fingerprint=explanation.fingerprint,
    )


def append_row(out: Path, row: Row) -> None:
    """Append a line. The last line of an id is valid."""
    with folder_lock(out):
        append_line(out / PREDICTIONS, _line(row))


def read_prediction_rows(out: Path) -> dict[str, Row]:
    """Return the last line of each id. Invalid lines are ignored."""
    rows: dict[str, Row] = {}
    for item, tree in read_rows(out / PREDICTIONS).items():
        with suppress(ValueError):
            is_failed = tree.get("status") == "failed"
            rows[item] = (FailedRow if is_failed else PredictionRow).from_dict(tree)
    return rows


def settle_rows(out: Path, written: Mapping[str, Row]) -> None:
    """Append missing lines at the end of a run, and sort the lines if there is no other writer.

    Lines can be missing if two writers replaced the file at the same time on a file system without
    locks.

    Args:
        out: output folder.
        written: lines that this run wrote, by id.
    """
    for item in sorted(written.keys() - read_prediction_rows(out).keys()):
        append_row(out, written[item])
    with folder_lock(out):
        if not living_writers(out):
            rows = read_prediction_rows(out)
            lines = [_line(rows[item]) + "\n" for item in sorted(rows)]
            write_atomically(out / PREDICTIONS, "".join(lines).encode())


class KnownRows:
    """Explained videos of a folder to which other processes may write.

    The file is read again only if a video is missing and the file has changed.

    Args:
        out: output folder.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._seen: tuple[int, int, int] | None = None
        self._rows: dict[str, Row] = {}

    def has(self, video_id: str, fingerprint: str) -> bool:
        """Return whether the line of a video has a fingerprint."""
        state = file_state(self._out / PREDICTIONS)
        if not self._matches(video_id, fingerprint) and state != self._seen:
            self._rows, self._seen = read_prediction_rows(self._out), state
        return self._matches(video_id, fingerprint)

    def _matches(self, video_id: str, fingerprint: str) -> bool:
        row = self._rows.get(video_id)
        return isinstance(row, PredictionRow) and row.fingerprint == fingerprint


def _line(row: Row) -> str:
    return json.dumps(row.to_dict(), allow_nan=False)
