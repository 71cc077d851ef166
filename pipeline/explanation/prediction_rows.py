"""The file `predictions.jsonl`, which lists the videos of an output folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pipeline.config.typed_json import TypedJson
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import FailureReason
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.formats import FILES, Format
from pipeline.runtime.row_files import RowFile

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


class PredictionRows(RowFile[Row]):
    """The file `predictions.jsonl` of an output folder.

    Args:
        out: output folder.
    """

    SORTS_KEYS: ClassVar[bool] = False
    KEEPS_OTHERS: ClassVar[bool] = True

    def __init__(self, out: Path) -> None:
        super().__init__(out / PREDICTIONS)

    def parse(self, tree: Any) -> Row:
        """Convert the JSON of a line to a row."""
        return (FailedRow if tree.get("status") == "failed" else PredictionRow).from_dict(tree)

    def has(self, video_id: str, fingerprint: str) -> bool:
        """Return whether the row of a video has a fingerprint."""
        row = self.rows().get(video_id)
        return isinstance(row, PredictionRow) and row.fingerprint == fingerprint
