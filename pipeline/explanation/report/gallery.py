"""Gallery page, which lists the explained videos of a folder."""

import base64
import io
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from PIL import Image

from pipeline.config.typed_json import TypedJson, parse_json
from pipeline.datasets.ids import is_safe_id
from pipeline.explanation.explanation import Explanation
from pipeline.explanation.report.rendering import render
from pipeline.runtime.files import publish, writer_token

LOGGER = logging.getLogger("report")
#: Most actions of an entry; longest side in pixels and most bytes of a thumbnail in base64.
MAX_ACTIONS, SIDE, MAX_BYTES = 5, 200, 6000
#: Names of the files of an entry and of a report page.
ENTRY, REPORT = "entry.json", "report.html"


@dataclass(frozen=True)
class GalleryAction(TypedJson):
    """Predicted action of an entry.

    Attributes:
        class_id: id of the action class.
        name: name of the action class.
        score: calibrated score.
        sentence: the reason in words.
        is_present: whether the score is at least `predict.threshold`.
    """

    class_id: str
    name: str
    score: float
    sentence: str
    is_present: bool


@dataclass(frozen=True)
class GalleryEntry(TypedJson):
    """Explained video in an output folder, stored as `OUT/ID/entry.json`.

    Attributes:
        id: id of the video.
        fingerprint: fingerprint of the explanation.
        files: names of the files of the explanation in `OUT/ID/`.
        path: path of the video, or None if it is not known.
        actions: the actions with the highest scores, in descending order.
        warnings: codes of its warnings.
        labels: ids of the annotated actions, or None if the video is not annotated.
        thumbnail: small JPEG image in base64, or None.
    """

    SCHEMA: ClassVar[str] = "laiar.gallery-entry/2"

    id: str
    fingerprint: str
    files: tuple[str, ...]
    path: str | None
    actions: tuple[GalleryAction, ...]
    warnings: tuple[str, ...]
    labels: tuple[str, ...] | None
    thumbnail: str | None

    def __post_init__(self) -> None:
        if not is_safe_id(self.id):
            raise ValueError(f"id: a name of letters, digits, . _ and - expected, got {self.id!r}")

    @property
    def link(self) -> str:
        """Path of the report page, relative to the gallery page."""
        return f"{self.id}/{REPORT}"

    def outcome(self, action: GalleryAction) -> str:
        """Return whether an action is a label: `right`, `wrong`, or `unknown` without labels."""
        if self.labels is None:
            return "unknown"
        return "right" if action.class_id in self.labels else "wrong"


def entry_of(
    explanation: Explanation, files: Sequence[str], path: Path | None = None
) -> GalleryEntry:
    """Return the entry of an explanation.

    Its thumbnail shows the first frame of the first reason, or the middle frame without a reason.

    Args:
        explanation: the explanation, possibly without images.
        files: names of its files.
        path: path of the video, or None if it is not known.
    """
    labels = explanation.video.labels
    return GalleryEntry(
        id=explanation.video.id,
        fingerprint=explanation.fingerprint,
        files=tuple(files),
        path=None if path is None else str(path.absolute()),
        actions=tuple(
            GalleryAction(
                row.class_id, row.name, row.score_calibrated, row.sentence, row.is_present
            )
            for row in explanation.predictions[:MAX_ACTIONS]
        ),
        warnings=tuple(warning.code for warning in explanation.warnings),
        labels=None if labels is None else tuple(label.class_id for label in labels),
        thumbnail=_thumbnail(explanation),
    )


def read_entries(out: Path) -> Iterator[GalleryEntry]:
    """Read the entries of an output folder one by one, sorted by path.

    Invalid files are skipped with a warning.

    Args:
        out: output folder.
    """
    for path in sorted(out.glob(f"*/{ENTRY}")):
        try:
            yield GalleryEntry.from_dict(parse_json(path.read_bytes()))
        except (OSError, ValueError) as error:
            LOGGER.warning("%s is left out: %s", path, error)


def gallery_page(entries: Iterable[GalleryEntry]) -> Iterator[str]:
    """Yield the gallery page as HTML in parts. Only one entry is in memory at a time.

    Args:
        entries: the entries.
    """
    return render("gallery", entries=entries)


def write_gallery(out: Path) -> Path:
    """Write `gallery.html`, which lists the videos with a report page in a folder.

    Args:
        out: output folder.

    Returns:
        Path of the gallery page.
    """
    path = out / "gallery.html"
    temporary = path.with_name(f".{path.name}.tmp-{writer_token()}")
    entries = (entry for entry in read_entries(out) if REPORT in entry.files)
    try:
        with open(temporary, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.writelines(gallery_page(entries))
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _thumbnail(explanation: Explanation) -> str | None:
    images, tokens = explanation.images, {token.id: token for token in explanation.tokens}
    reasons = (row.reason.tokens for row in explanation.predictions[:1])
    frames = [tokens[token].frame_index for reason in reasons for token in reason[:1]]
    frames = [index for index in frames if index in images] or sorted(images)
    if not frames:
        return None
    with Image.open(io.BytesIO(images[frames[len(frames) // 2]])) as opened:
        image = opened.convert("RGB")
    for side, quality in ((SIDE, 70), (SIDE, 45), (SIDE // 2, 45), (SIDE // 4, 30)):
        image.thumbnail((side, side))
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        data = base64.b64encode(buffer.getvalue()).decode()
        if len(data) <= MAX_BYTES:
            return data
    return None
