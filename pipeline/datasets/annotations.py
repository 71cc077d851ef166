"""Everything annotated about one video."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.action_genome import FrameAnnotation, read_action_genome
from pipeline.datasets.charades import Action, read_charades
from pipeline.datasets.locate import locate
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.runtime.files import json_sha256


@dataclass(frozen=True)
class ClipAnnotation:
    """Labels and annotated frames of one video; None where a dataset does not say."""

    video_id: str
    split: str | None
    subject: str | None
    scene: str | None
    length_s: float | None
    actions: tuple[Action, ...] | None
    frames: tuple[FrameAnnotation, ...]

    def fingerprint(self) -> str:
        """SHA-256 over the content; the same in any folder."""
        digest = hashlib.sha256()
        for frame in self.frames:
            digest.update(f"{frame.frame_index} {frame.image_size} {frame.split}\n".encode())
            for value in (frame.boxes, frame.labels, frame.predicates):
                digest.update(value.numpy().tobytes())
        labels = [self.video_id, self.split, self.subject, self.scene, self.length_s]
        return json_sha256([labels, self.actions, digest.hexdigest()])


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


def read_dataset(name: str, folders: Sequence[Path], vocabulary: Vocabulary) -> Annotations:
    """Read all annotation files of a dataset.

    Args:
        name: a key of `READERS`.
        folders: where its files are.
        vocabulary: of objects and predicates.

    Raises:
        UsageError: see the dataset's reader.
    """
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
        of_frames = next((frame.split for frame in frames if frame.split), None)
        videos[video_id] = ClipAnnotation(
            video_id,
            row.split if row else of_frames,
            row.subject if row else None,
            row.scene if row else None,
            row.length_s if row else None,
            row.actions if row else None,
            frames,
        )
    return Annotations(charades.classes, videos, errors)


#: Dataset -> its reader.
READERS = {"charades": read_annotations}
