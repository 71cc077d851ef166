"""Which frames go together, in which order, how they are changed."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from pipeline.training.detector.frames import read_image
from pipeline.training.detector.samples import Sample


@dataclass(frozen=True)
class ImageBatch:
    """Images before the network's own preprocessing.

    Attributes:
        images: (3, H, W) uint8 RGB, each of its own size.
        boxes: per image (M, 4) float32, xyxy, image pixels.
        labels: per image (M,) int64.
        short_side: drawn for this batch, or None for the detector's own.
    """

    images: list[Tensor]
    boxes: list[Tensor]
    labels: list[Tensor]
    short_side: int | None


@dataclass(frozen=True)
class Draw:
    """One image of a batch: row of the samples, whether it is mirrored, its batch's short side."""

    row: int
    is_mirrored: bool
    short_side: int | None


class FrameImages(Dataset[tuple[Tensor, Tensor, Tensor, int | None]]):
    """Reads samples from a folder of `ID.mp4/NNNNNN.png`."""

    def __init__(self, frames: Path, samples: Sequence[Sample]) -> None:
        self.frames, self.samples = frames, samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, draw: Draw) -> tuple[Tensor, Tensor, Tensor, int | None]:
        sample = self.samples[draw.row]
        image = read_image(self.frames / sample.image)
        height, width = image.shape[1:]
        real = ~sample.is_crowd
        limit = torch.tensor([width, height, width, height], dtype=torch.float32)
        boxes = sample.boxes[real].clamp(min=0).minimum(limit)
        inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
        boxes, labels = boxes[inside], sample.labels[real][inside]
        if draw.is_mirrored:
            image, boxes = mirror(image, boxes)
        return image, boxes, labels, draw.short_side


def mirror(image: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Left becomes right: x' = W - x."""
    width = image.shape[2]
    moved = torch.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
    return image.flip(2), moved


class DrawSampler(Sampler[list[Draw]]):
    """Batches of one epoch: shuffled, upright and wide images apart, an equal share per process.

    Everything follows from (seed, epoch), so that an interrupted epoch can go on at any step. The
    last incomplete batch of each kind is left out, the images of which differ in every epoch.

    Args:
        is_wide: of every sample.
        weights: how often each sample is drawn, relatively; None takes every one once an epoch.
        batch_size: images per batch and process.
        flip: share of mirrored images.
        short_sides: to draw from.
        seed: of the whole training.
        rank, world_size: of this process.
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
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.is_wide = np.array(is_wide)
        self.weights = None if weights is None else np.array(weights, dtype=np.float64)
        self.batch_size, self.flip, self.short_sides = batch_size, flip, list(short_sides)
        self.seed, self.rank, self.world_size = seed, rank, world_size
        self.epoch = 0
        self.skip = 0

    def __len__(self) -> int:
        """Batches of a whole epoch."""
        size = self.batch_size * self.world_size
        return int(self.is_wide.sum()) // size + int((~self.is_wide).sum()) // size

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        size = self.batch_size * self.world_size
        batches = []
        for kind in (True, False):
            rows = rng.permutation((self.is_wide == kind).nonzero()[0])
            if self.weights is not None and len(rows):
                share = self.weights[rows]
                rows = rng.choice(rows, len(rows), p=share / share.sum())
            batches += [rows[i : i + size] for i in range(0, len(rows) // size * size, size)]
        for number in rng.permutation(len(batches)).tolist():
            side = int(rng.choice(self.short_sides)) if self.short_sides else None
            mirrored = rng.random(size) < self.flip
            if self.skip:
                self.skip -= 1
                continue
            mine = range(self.rank, size, self.world_size)
            yield [Draw(int(batches[number][i]), bool(mirrored[i]), side) for i in mine]


def repeat_factors(samples: Sequence[Sample], threshold: float) -> list[float]:
    """How often to draw each image, so that rare classes are seen (Gupta et al. 2019, LVIS).

    r(image) = max over its classes of max(1, sqrt(threshold / f(class))), f the share of images
    that show the class.
    """
    shown = [set(s.labels[~s.is_crowd].tolist()) for s in samples]
    counts = Counter(label for classes in shown for label in classes)
    factor = {k: max(1.0, (threshold * len(samples) / n) ** 0.5) for k, n in counts.items()}
    return [max((factor[k] for k in classes), default=1.0) for classes in shown]


def collate(rows: list[tuple[Tensor, Tensor, Tensor, int | None]]) -> ImageBatch:
    """A batch of what `FrameImages` gives."""
    return ImageBatch([r[0] for r in rows], [r[1] for r in rows], [r[2] for r in rows], rows[0][3])


def build_loader(
    images: FrameImages, sampler: DrawSampler, workers: int
) -> "DataLoader[ImageBatch]":
    """Loader of the sampler's batches."""
    return DataLoader(
        images,  # type: ignore[arg-type]
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        # The loader draws a base seed; it must not come from the generator that the losses use.
        generator=torch.Generator().manual_seed(0),
        multiprocessing_context="spawn" if workers else None,
    )
