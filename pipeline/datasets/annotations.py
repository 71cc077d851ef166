"""Everything annotated about one video."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.action_genome import FrameAnnotation, read_action_genome
from pipeline.datasets.charades import Action, read_charades
from pipeline.datasets.locate import locate
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import json_sha256


@dataclass(frozen=True)
class ClipAnnotation:
    """Labels and annotated frames of one video; None where a dataset does not say."""

    video_id: str
    split: str | None = None
    subject: str | None = None
    scene: str | None = None
    length_s: float | None = None
    actions: tuple[Action, ...] | None = None
    frames: tuple[FrameAnnotation, ...] = ()

    def fingerprint(self) -> str:
        """SHA-256 over the content; the same in any folder."""
        frames = hashlib.sha256()
        for frame in self.frames:
            frames.update(f"{frame.frame_index} {frame.image_size} {frame.split}\n".encode())
            for value in (frame.boxes, frame.labels, frame.predicates):
                frames.update(value.numpy().tobytes())
        labels = [self.video_id, self.split, self.subject, self.scene, self.length_s]
        return json_sha256([labels, self.actions, frames.hexdigest()])


@dataclass(frozen=True)
class Annotations:
    """All annotated videos.

    Attributes:
        classes: (id, name) of the C actions; empty without Charades' files.
        videos: id -> annotation.
        errors: id -> why its annotation cannot be used.
    """

    classes: tuple[tuple[str, str], ...]
    videos: dict[str, ClipAnnotation]
    errors: dict[str, str]

    def of_video(self, video_id: str) -> ClipAnnotation | None:
        """The annotation of a video, or None; ItemError BAD_ANNOTATION if it cannot be used."""
        if video_id in self.errors:
            raise ItemError(FailureReason.BAD_ANNOTATION, self.errors[video_id])
        return self.videos.get(video_id)


def read_dataset(name: str, folders: Sequence[Path], vocabulary: Vocabulary) -> Annotations:
    """Read all annotation files of a dataset, a key of `READERS`; UsageError as its reader."""
    return READERS[name](folders, vocabulary)


def read_annotations(folders: Sequence[Path], vocabulary: Vocabulary) -> Annotations:
    """Read Charades' and Action Genome's annotation files below some folders.

    Raises:
        UsageError: if files are missing, doubled, malformed as a whole, or unsafe.
    """
    files = locate(folders)
    charades = read_charades(files)
    genome = read_action_genome(files, vocabulary)
    errors = charades.errors | genome.errors
    videos = {}
    for video_id in charades.videos.keys() | genome.videos.keys():
        if video_id in errors:
            continue
        row, frames = charades.videos.get(video_id), genome.videos.get(video_id, ())
        split = next((frame.split for frame in frames if frame.split), None)
        said = vars(row) if row else {"split": split}
        videos[video_id] = ClipAnnotation(video_id, **said, frames=frames)
    return Annotations(charades.classes, videos, errors)


#: Dataset -> its reader.
READERS = {"charades": read_annotations}
