"""Types of the annotations of a dataset."""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.config.typed_json import TypedJson
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.files import json_sha256

#: Index of the class of an action, and its start and end in seconds.
Action = tuple[int, float, float]
#: Largest relative difference between the aspect ratios of a frame and of an annotated image. It
#: covers the rounding of sizes to even pixels, such as 426x240 and 854x480 for 16:9.
ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class FrameAnnotation:
    """Annotated boxes and relations of one frame.

    Attributes:
        frame_index: 0-based frame index in ffmpeg's dump. The release counts from 1.
        boxes: (N, 4) float32 boxes (x1, y1, x2, y2) in pixels, as released. They may extend
            slightly beyond the frame. The person's box, if there is one, comes first.
        labels: (N,) int64 indices of the object classes. Class 0 is the person.
        predicates: (N, R) bool. Entry (n, r) is True if predicate r is annotated for the person and
            object n. Spatial predicates point from the object to the person. All other predicates
            point from the person to the object. The row of the person is False. With `pairs`,
            (P, R) bool, a row per pair.
        image_size: (height, width) of the annotated image, or None if unknown. A frame whose size
            is not annotated has the size of the other frames of the video, if they have one size.
        split: `train` or `test`, or None if unknown.
        pairs: (P, 2) int64 rows of the boxes of each pair, the subject first. None if the pairs
            are those of the person with every other box.
        instances: (N,) int64 numbers of the objects, which are equal in all frames of a video. None
            if unknown.
        is_person_partial: whether the person's box covers the head and the hands only.
    """

    frame_index: int
    boxes: Tensor
    labels: Tensor
    predicates: Tensor
    image_size: tuple[int, int] | None
    split: str | None
    pairs: Tensor | None = None
    instances: Tensor | None = None
    is_person_partial: bool = False

    def predicates_of(self, pairs: Tensor) -> Tensor:
        """Return the predicates of pairs of annotated boxes.

        Args:
            pairs: (Q, 2) int64 rows (subject, object) of boxes, -1 for an unknown box.

        Returns:
            (Q, R) float32 predicates, zeros for pairs that are not annotated.
        """
        found = torch.zeros(len(pairs), self.predicates.shape[1])
        known = (pairs >= 0).all(1)
        if self.pairs is None:
            found[known] = self.predicates[pairs[known, 1]].float()
            return found
        same = (pairs[:, None] == self.pairs[None]).all(2) & known[:, None]  # (Q, P)
        rows, columns = same.nonzero().unbind(1)
        found[rows] = self.predicates[columns].float()
        return found

    def scaled_to(self, height: int, width: int, video_id: str) -> "FrameAnnotation":
        """Return the annotation with boxes in pixels of a decoded frame.

        If the annotated image has another size than the frame, and both aspect ratios are equal up
        to `ASPECT_TOLERANCE`, the boxes are scaled.

        Args:
            height: height of the frame in pixels.
            width: width of the frame in pixels.
            video_id: id of the video, used in the error message.

        Raises:
            ItemError: BAD_ANNOTATION if the aspect ratios differ.
        """
        if self.image_size is None or self.image_size == (height, width):
            return self
        old_height, old_width = self.image_size
        if abs(width * old_height / (height * old_width) - 1) > ASPECT_TOLERANCE:
            raise ItemError(
                FailureReason.BAD_ANNOTATION,
                f"{video_id}: frames with the aspect ratio of the annotated size {old_width}x"
                f"{old_height} expected, got {width}x{height} in frame {self.frame_index + 1}; use "
                "the release of the videos that was annotated",
            )
        old, new = (old_width, old_height) * 2, (width, height) * 2
        scale = torch.tensor(new, dtype=torch.float32) / torch.tensor(old, dtype=torch.float32)
        return replace(self, boxes=self.boxes * scale, image_size=(height, width))


@dataclass(frozen=True)
class Span(TypedJson):
    """Range of frames of a video that shows one action. It is a sample of its own.

    Attributes:
        first: 0-based index of the first frame.
        last: 0-based index of the last frame, which belongs to the range.
        action: index of the class of the action.

    Raises:
        ValueError: if the range is empty, or a number is negative.
    """

    first: int
    last: int
    action: int

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last or self.action < 0:
            raise ValueError(
                f"span: 0 <= first <= last and a class of at least 0 expected, got {self}"
            )

    def id(self, video_id: str) -> str:
        """Return the id of the sample, with the numbers of the frames from 1."""
        return f"{video_id}_{self.first + 1}_{self.last + 1}"

    @staticmethod
    def video_of(sample_id: str) -> str:
        """Return the id of the video of a sample, the inverse of `id`."""
        return sample_id.rsplit("_", 2)[0]


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
        spans: ranges of frames that are samples of their own. Empty if the video is one sample.
        num_frames: number of frames of the video, or None if the dataset does not contain it.
    """

    video_id: str
    split: str | None = None
    subject: str | None = None
    scene: str | None = None
    length_s: float | None = None
    actions: tuple[Action, ...] | None = None
    frames: tuple[FrameAnnotation, ...] = ()
    spans: tuple[Span, ...] = ()
    num_frames: int | None = None

    @property
    def is_labelled(self) -> bool:
        """Whether the actions of the video are known."""
        return self.actions is not None or bool(self.spans)

    def labels(self) -> dict[str, tuple[int, ...]]:
        """Return the id of each labelled sample, and the increasing classes of its actions."""
        if self.spans:
            return {span.id(self.video_id): (span.action,) for span in self.spans}
        if self.actions is None:
            return {}
        return {self.video_id: tuple(sorted({action for action, _, _ in self.actions}))}

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
            for value in (frame.boxes, frame.labels, frame.pairs, frame.instances):
                if value is not None:
                    found.update(value.numpy().tobytes())
        return found.hexdigest()

    def labels_fingerprint(self) -> str:
        """Return the SHA-256 of the rest: actions, relations, split, subject and scene."""
        found = hashlib.sha256()
        for frame in self.frames:
            found.update(f"{frame.frame_index} {frame.split}\n".encode())
            found.update(frame.predicates.numpy().tobytes())
        labels: list[Any] = [self.video_id, self.split, self.subject, self.scene, self.actions]
        if self.spans:
            labels.append([span.to_dict() for span in self.spans])
        return json_sha256([labels, found.hexdigest()])


@dataclass(frozen=True)
class ReadOptions:
    """Pairs and frames to read, for datasets whose videos consist of spans.

    Attributes:
        pairs: names of the kinds of pairs (`Vocabulary.pairs`).
        occluded: whether pairs with an invisible box are read as well. Their boxes are empty.
        frames: number of frames of each span, the centres of equal segments.
        every_box: whether all visible boxes of a frame are read, not only those of its pairs.
    """

    pairs: tuple[str, ...] = ()
    occluded: bool = False
    frames: int = 100_000
    every_box: bool = False


@dataclass(frozen=True)
class Annotations:
    """Annotations of all videos of a dataset.

    Attributes:
        classes: (id, name) of each of the C action classes. Empty if the files do not name them.
        videos: mapping from video id to annotation.
        errors: mapping from video id to the reason why its annotation cannot be used.
        folds: mapping from the name of a fold to its test subjects. Empty if each video has a
            split.
        files: mapping from video id to the file of its annotation. Empty if the videos share files.
        faulty: annotation without frames of each video in `errors` whose labels are valid. In the
            test split, its samples are misses.
    """

    classes: tuple[tuple[str, str], ...]
    videos: dict[str, ClipAnnotation]
    errors: dict[str, str]
    folds: dict[str, tuple[str, ...]] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    faulty: dict[str, ClipAnnotation] = field(default_factory=dict)

    def of_video(self, video_id: str) -> ClipAnnotation | None:
        """Return the annotation of a video, or None if it has none.

        Raises:
            ItemError: BAD_ANNOTATION if the annotation cannot be used.
        """
        if video_id in self.errors:
            raise ItemError(FailureReason.BAD_ANNOTATION, self.errors[video_id])
        return self.videos.get(video_id)
