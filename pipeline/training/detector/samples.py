"""Annotated images, as samples of the training and evaluation of detectors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.datasets.annotations import FrameAnnotation
from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.vocabulary import Vocabulary
from pipeline.errors import UsageError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp")
#: Name of a frame in a dump of a video.
FRAME_NAME = re.compile(r"(?P<video>[^/]+)\.mp4/(?P<number>\d{1,9})\.(?:png|jpe?g)")


@dataclass(frozen=True)
class Sample:
    """One annotated image.

    Attributes:
        image: path of the image below the folder of frames, such as `ID.mp4/000001.png` as in
            Action Genome's dump, or `train/000001.jpg`.
        boxes: (M, 4) float32, xyxy in pixels of the image. Each box has an area.
        labels: (M,) int64 object classes. Class 0 is the person.
        is_crowd: (M,) bool. Crowd boxes are not used in training and are ignored in evaluation.
        size: (width, height) of the image according to its annotation, or None if unknown.
        video_id: id of the video of an image that was read from a folder of frames, or None.
    """

    image: str
    boxes: Tensor
    labels: Tensor
    is_crowd: Tensor
    size: tuple[int, int] | None = None
    video_id: str | None = None

    @property
    def frame(self) -> tuple[str, int] | None:
        """Id of the video and 1-based number of a dumped frame, or None for another image."""
        found = FRAME_NAME.fullmatch(self.image)
        return (found["video"], int(found["number"])) if found else None

    @property
    def source(self) -> str:
        """Id of the video of a frame, or the path of another image."""
        if self.video_id is not None:
            return self.video_id
        return self.image if self.frame is None else self.frame[0]


def read_action_genome_samples(folder: Path, split: str, vocabulary: Vocabulary) -> list[Sample]:
    """Read the annotated frames of a split of Action Genome's pickles.

    Args:
        folder: folder of the pickles.
        split: `train` or `test`.
        vocabulary: names of the object classes.

    Raises:
        UsageError: if no pickle exists or a pickle is invalid.
    """
    annotations = read_annotations([folder], vocabulary)
    samples = []
    for video_id, clip in annotations.videos.items():
        for frame in clip.frames:
            if (frame.split or clip.split) == split:
                image = f"{video_id}.mp4/{frame.frame_index + 1:06d}.png"
                samples.append(Sample(image, *usable_boxes(frame)))
    return samples


def usable_boxes(frame: FrameAnnotation) -> tuple[Tensor, Tensor, Tensor]:
    """Return the boxes of a frame that have an area, their labels and their crowd flags (False)."""
    good = torch.isfinite(frame.boxes).all(1)
    good &= (frame.boxes[:, 2:] > frame.boxes[:, :2]).all(1)
    return frame.boxes[good], frame.labels[good], torch.zeros(int(good.sum()), dtype=torch.bool)


def check_boxes(samples: Sequence[Sample], split: str, where: str) -> None:
    """Check that samples contain at least one box that is not a crowd.

    Args:
        samples: annotated images.
        split: name of the split, used in the message.
        where: origin of the samples, used in the message.

    Raises:
        UsageError: if there is no such box.
    """
    if not any(bool((~sample.is_crowd).any()) for sample in samples):
        raise UsageError(
            f"{where}: boxes of the {split} split expected, got {len(samples)} images without "
            "boxes; in COCO files, each image_id must be the id of an image"
        )
