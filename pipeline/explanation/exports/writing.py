"""Writing of the files of the chosen formats."""

from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pipeline.explanation.exports.ava import AvaExport
from pipeline.explanation.exports.charades import CharadesExport
from pipeline.explanation.exports.coco import CocoExport
from pipeline.explanation.exports.exported import ClassNames, ExportedVideo
from pipeline.explanation.exports.fiftyone import FiftyOneExport
from pipeline.explanation.exports.files import ExportFiles
from pipeline.explanation.exports.labelstudio import LabelStudioExport
from pipeline.runtime.writers import Writer, sweep_temporary_files


class ExportFormat(StrEnum):
    """Format of exported files."""

    FIFTYONE = "fiftyone"
    LABELSTUDIO = "labelstudio"
    AVA = "ava"
    CHARADES = "charades"
    COCO = "coco"


class Export(Protocol):
    """Writer of the files of one format."""

    def add(self, video: ExportedVideo) -> None:
        """Add a video."""

    def finish(self) -> None:
        """Write what follows the last video."""


EXPORTS: dict[ExportFormat, Callable[[ExportFiles, ClassNames], Export]] = {
    ExportFormat.FIFTYONE: FiftyOneExport,
    ExportFormat.LABELSTUDIO: LabelStudioExport,
    ExportFormat.AVA: AvaExport,
    ExportFormat.CHARADES: CharadesExport,
    ExportFormat.COCO: CocoExport,
}


def write_exports(
    formats: Sequence[ExportFormat],
    videos: Iterable[ExportedVideo],
    out: Path,
    classes: ClassNames,
) -> list[Path]:
    """Write explained videos in the formats of other tools to `out/exports`.

    The videos are read once, one at a time. Earlier files are replaced when all new files are
    complete. If writing fails, the earlier files stay.

    Args:
        formats: the formats. A format that is given twice is written once.
        videos: the videos.
        out: output folder.
        classes: classes of the network that explained the videos.

    Returns:
        Paths of the files.

    Raises:
        ValueError: if a video has a class that is not in `classes`, another number of scores, or
            the id of an earlier video.
        OSError: if a file cannot be written.
    """
    if not formats:
        return []
    folder, seen = out / "exports", set[str]()
    folder.mkdir(parents=True, exist_ok=True)
    with Writer(folder), ExportFiles(folder) as files:
        for place in (folder, folder / ExportFormat.FIFTYONE):
            sweep_temporary_files(place)
        exports = [EXPORTS[kind](files, classes) for kind in dict.fromkeys(formats)]
        for video in videos:
            _check(video, classes, seen)
            for export in exports:
                export.add(video)
        for export in exports:
            export.finish()
        return files.publish()


def _check(video: ExportedVideo, classes: ClassNames, seen: set[str]) -> None:
    explanation, objects = video.explanation, set(classes.objects)
    item = explanation.video.id
    if item in seen:
        raise ValueError(f"{item}: one video per id expected, got a second one")
    seen.add(item)
    if len(video.scores) != len(classes.actions):
        raise ValueError(f"{item}: {len(classes.actions)} scores expected, got {len(video.scores)}")
    known = {class_id for class_id, _ in classes.actions}
    used = {row.class_id for row in explanation.predictions}
    if unknown := used - known:
        raise ValueError(f"{item}: an action class of the network expected, got {min(unknown)!r}")
    used = {box.class_ for token in explanation.tokens for box in (token.human, token.object)}
    if unknown := used - objects:
        raise ValueError(f"{item}: an object class of the network expected, got {min(unknown)!r}")
