"""Batches of training images, with grouping, shuffling and augmentation."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.training.detector.frames import load_image
from pipeline.training.detector.samples import Sample


@dataclass(frozen=True)
class ImageBatch:
    """Batch of images before preprocessing.

    Attributes:
        names: name of each image.
        images: one (3, H, W) uint8 RGB tensor per image. The sizes may differ.
        boxes: one (M, 4) float32 tensor per image, xyxy in pixels of the image.
        labels: one (M,) int64 tensor of object classes per image.
        short_side: short side in pixels to which the images are resized. If None, the short side of
            the detector is used.
    """

    names: tuple[str, ...]
    images: list[Tensor]
    boxes: list[Tensor]
    labels: list[Tensor]
    short_side: int | None


@dataclass(frozen=True)
class Draw:
    """One image of a batch.

    Attributes:
        row: index of the sample.
        is_mirrored: whether the image is mirrored.
        short_side: short side of the batch in pixels. If None, the short side of the detector is
            used.
    """

    row: int
    is_mirrored: bool
    short_side: int | None


#: Name of an image, the image, its boxes, their labels and the short side of its batch.
Item = tuple[str, Tensor, Tensor, Tensor, int | None]


class FrameImages(Dataset[Item]):
    """Dataset of annotated frames, indexed by `Draw`.

    Boxes are clipped to the image. Crowd boxes and boxes without area are removed.

    Args:
        frames: folder that contains the images, such as `ID.mp4/NNNNNN.png`.
        samples: annotated frames.
    """

    def __init__(self, frames: Path, samples: Sequence[Sample]) -> None:
        self.frames, self.samples = frames, samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> Item:
        sample = self.samples[draw.row]
        image = load_image(self.frames, sample)
        height, width = image.shape[1:]
        real = ~sample.is_crowd
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = sample.boxes[real].clamp(min=0).minimum(limit)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, labels = boxes[inside], sample.labels[real][inside]
        if draw.is_mirrored:
            image, boxes = mirror(image, boxes)
        return sample.image, image, boxes, labels, draw.short_side


def mirror(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Flip an image and its boxes horizontally (x' = W - x)."""
    width = image.shape[2]
    moved = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    return image.flip(2), moved


class ImageOrder:
    """Order and augmentation of the images of each epoch.

    The images of a step are either all wide or all upright. The steps depend only on (seed, epoch).
    Images that do not fill a step are not used in this epoch.

    Args:
        is_wide: whether the image of each sample is at least as wide as high.
        batch_size: number of images per step.
        weights: relative frequency of each sample, for sampling with replacement. If None, samples
            are drawn without replacement.
        flip: probability that an image is mirrored.
        short_sides: short sides in pixels. One of them is selected at random for each step. If
            empty, the short side of the detector is used.
        seed: seed of the training run.
    """

    def __init__(
        self,
        is_wide: Sequence[bool],
        batch_size: int,
        *,
        weights: Sequence[float] | None = None,
        flip: float,
        short_sides: Sequence[int],
        seed: int,
    ) -> None:
        self.is_wide = np.array(is_wide)
        self.weights = None if weights is None else np.array(weights, dtype=np.float64)
        self.batch_size, self.flip, self.short_sides = batch_size, flip, list(short_sides)
        self.seed = seed

    def steps(self, epoch: int) -> list[list[Draw]]:
        """Return the images of each step of an epoch."""
        rng, size = np.random.default_rng([self.seed, epoch]), self.batch_size
        batches = []
        for kind in (True, False):
            rows = rng.permutation((self.is_wide == kind).nonzero()[0])
            if self.weights is not None and len(rows):
                share = self.weights[rows]
                rows = rng.choice(rows, len(rows), p=share / share.sum())
            batches += [rows[i : i + size] for i in range(0, len(rows) // size * size, size)]
        steps = []
        for number in rng.permutation(len(batches)).tolist():
            side = int(rng.choice(self.short_sides)) if self.short_sides else None
            mirrored = rng.random(size) < self.flip
            drawn = zip(batches[number].tolist(), mirrored.tolist(), strict=True)
            steps.append([Draw(row, is_mirrored, side) for row, is_mirrored in drawn])
        return steps


def repeat_factors(samples: Sequence[Sample], threshold: float) -> list[float]:
    """Return the repeat factor of each image, which is larger for images of rare classes.

    The repeat factor of an image is the maximum of max(1, sqrt(threshold / f(class))) over its
    classes, where f(class) is the fraction of images with this class (Gupta et al. 2019, LVIS).
    """
    shown = [set(s.labels[~s.is_crowd].tolist()) for s in samples]
    counts = Counter(label for classes in shown for label in classes)
    factor = {k: max(1.0, (threshold * len(samples) / n) ** 0.5) for k, n in counts.items()}
    return [max((factor[k] for k in classes), default=1.0) for classes in shown]


def collate(rows: list[Item]) -> ImageBatch:
    """Collate items of `FrameImages` into a batch."""
    names, images, boxes, labels, sides = zip(*rows, strict=True)
    return ImageBatch(names, list(images), list(boxes), list(labels), sides[0])
