"""Labels and annotated frames of each video, from all files of a dataset."""

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
    """Labels and annotated frames of one video.

    A field is None if the dataset does not contain its value.

    Attributes:
        video_id: id of the video.
        split: `train` or `test`.
        subject: id of the filmed person.
        scene: name of the place.
        length_s: length of the video, in seconds.
        actions: (class index, start_s, end_s) of each action.
        frames: annotated frames, in increasing order of index.
    """

    video_id: str
    split: str | None = None
    subject: str | None = None
    scene: str | None = None
    length_s: float | None = None
    actions: tuple[Action, ...] | None = None
    frames: tuple[FrameAnnotation, ...] = ()

    def fingerprint(self) -> str:
        """Return the SHA-256 of the content. The path of the files has no effect on it."""
        return json_sha256([self.boxes_fingerprint(), self.labels_fingerprint()])

    def boxes_fingerprint(self) -> str:
        """Return the SHA-256 of what determines the extracted frames and boxes.

        These are the numbers, sizes, boxes and object classes of the annotated frames, and the
        length of the video, which determines the frame times of dumped frames.
        """
        found = hashlib.sha256(f"{self.length_s}\n".encode())
        for frame in self.frames:
            found.update(f"{frame.frame_index} {frame.image_size}\n".encode())
            for value in (frame.boxes, frame.labels):
                found.update(value.numpy().tobytes())
        return found.hexdigest()

    def labels_fingerprint(self) -> str:
        """Return the SHA-256 of the rest: actions, relations, split, subject and scene."""
        found = hashlib.sha256()
        for frame in self.frames:
            found.update(f"{frame.frame_index} {frame.split}\n".encode())
            found.update(frame.predicates.numpy().tobytes())
        labels = [self.video_id, self.split, self.subject, self.scene, self.actions]
        return json_sha256([labels, found.hexdigest()])


@dataclass(frozen=True)
class Annotations:
    """Annotations of all videos of a dataset.

    Attributes:
        classes: (id, name) of each of the C action classes. Empty if there are no Charades files.
        videos: mapping from video id to annotation.
        errors: mapping from video id to the reason why its annotation cannot be used.
    """

    classes: tuple[tuple[str, str], ...]
    videos: dict[str, ClipAnnotation]
    errors: dict[str, str]

    def of_video(self, video_id: str) -> ClipAnnotation | None:
        """Return the annotation of a video, or None if it has none.

        Raises:
            ItemError: BAD_ANNOTATION if the annotation cannot be used.
        """
        if video_id in self.errors:
            raise ItemError(FailureReason.BAD_ANNOTATION, self.errors[video_id])
        return self.videos.get(video_id)


def read_dataset(name: str, folders: Sequence[Path], vocabulary: Vocabulary) -> Annotations:
    """Read all annotation files of a dataset.

    Args:
        name: name of the dataset, a key of `READERS`.
        folders: folders that contain the files, possibly in subfolders.
        vocabulary: names of the object classes and predicates.

    Returns:
        Annotations of all videos.

    Raises:
        UsageError: if the reader of the dataset rejects the files; see `read_annotations`.
    """
    return READERS[name](folders, vocabulary)


def read_annotations(folders: Sequence[Path], vocabulary: Vocabulary) -> Annotations:
    r"""Read the annotation files of Charades and Action Genome.

    Args:
        folders: folders that contain the files under their release names, possibly in subfolders.
        vocabulary: names of the object classes and predicates.

    Returns:
        Annotations of all videos. A video with a malformed annotation is listed in `errors`.

    Raises:
        UsageError: if a file is missing, occurs twice, has the wrong format, or is a pickle that
            refers to code.

    Example::

        >>> import tempfile
        >>> from pathlib import Path
        >>> from pipeline.datasets import read_annotations
        >>> from pipeline.datasets.charades import COLUMNS
        >>> from pipeline.datasets.vocabulary import load_vocabulary
        >>> temporary = tempfile.TemporaryDirectory()
        >>> folder = Path(temporary.name)
        >>> classes = "c000 Holding some clothes\nc001 Putting clothes somewhere\n"
        >>> _ = (folder / "Charades_v1_classes.txt").write_text(classes)
        >>> row = "A0001,S1,Kitchen,5,6,Yes,script,clothes,description,c001 0.5 2.0,10.0"
        >>> table = f"{','.join(COLUMNS)}\n{row}\n"
        >>> _ = (folder / "Charades_v1_train.csv").write_text(table)
        >>> annotations = read_annotations([folder], load_vocabulary("action_genome"))
        >>> annotations.classes
        (('c000', 'Holding some clothes'), ('c001', 'Putting clothes somewhere'))
        >>> clip = annotations.of_video("A0001")
        >>> clip.split, clip.length_s, clip.actions
        ('train', 10.0, ((1, 0.5, 2.0),))
        >>> temporary.cleanup()
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


#: Mapping from dataset name to reader.
READERS = {"charades": read_annotations}
