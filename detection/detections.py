"""What a detector says of one frame."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

FeatureSource = Literal["proposal", "box"]


@dataclass(frozen=True)
class Detections:
    """Parallel arrays over the N boxes of one frame, on one device.

    Attributes:
        boxes: (N, 4) float32, xyxy, pixels of the decoded frame, inside it; x2 >= x1, y2 >= y1.
        labels: (N,) int64 index into the O object classes of the vocabulary (0 is the person; no
            background class).
        scores: (N,) float32 in [0, 1]; 1 for boxes given by an annotation.
        distribution: (N, O) float32 probabilities over the object classes.
        features: (N, F) float32 box features.
        image_size: (height, width) of the decoded frame, pixels.
        feature_source: what `features` were pooled on: the RPN `proposal` that became the box, or
            the `box` itself.

    Raises:
        ValueError: if the lengths, shapes, dtypes or ranges above do not hold; the message names
            the field and the first bad row.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    distribution: Tensor
    features: Tensor
    image_size: tuple[int, int]
    feature_source: FeatureSource = "box"

    def __post_init__(self) -> None:
        N = len(self.boxes)
        for name, shape, dtype in (
            ("boxes", (N, 4), torch.float32),
            ("labels", (N,), torch.int64),
            ("scores", (N,), torch.float32),
            ("distribution", (N, None), torch.float32),
            ("features", (N, None), torch.float32),
        ):
            _check_array(name, getattr(self, name), shape, dtype)
        height, width = self.image_size
        check_boxes(self.boxes, height, width)
        num_classes = self.distribution.shape[1]
        _check_range("labels", self.labels, 0, max(num_classes - 1, 0))
        _check_range("scores", self.scores, 0, 1)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor) -> "Detections":
        """Select rows by a boolean mask or int64 indices."""
        names = ("boxes", "labels", "scores", "distribution", "features")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    @classmethod
    def empty(
        cls,
        image_size: tuple[int, int],
        num_classes: int,
        feature_width: int,
        feature_source: FeatureSource = "box",
    ) -> "Detections":
        """Detections of a frame in which nothing was found."""
        return cls(
            torch.zeros(0, 4),
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0),
            torch.zeros(0, num_classes),
            torch.zeros(0, feature_width),
            image_size,
            feature_source,
        )


def check_boxes(boxes: Tensor, height: int, width: int) -> None:
    """Refuse boxes that are inverted, not finite, or outside a frame.

    Raises:
        ValueError: names the first bad row and its values.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    good = torch.isfinite(boxes).all(1) & (x1 <= x2) & (y1 <= y2)
    good &= (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        raise ValueError(
            f"boxes: xyxy inside a {width}x{height} frame expected, row {row} is "
            f"{[round(v, 2) for v in boxes[row].tolist()]}; clip them first"
        )


def _check_array(
    name: str, value: Tensor, shape: tuple[int | None, ...], dtype: torch.dtype
) -> None:
    fits = value.ndim == len(shape) and all(
        want is None or got == want for got, want in zip(value.shape, shape, strict=True)
    )
    if not fits or value.dtype != dtype:
        want = tuple("any" if n is None else n for n in shape)
        raise ValueError(
            f"{name}: shape {want} and {dtype} expected, got {tuple(value.shape)} and {value.dtype}"
        )


def _check_range(name: str, value: Tensor, low: float, high: float) -> None:
    bad = ~((value >= low) & (value <= high))
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise ValueError(f"{name}: values in [{low}, {high}] expected, row {row} is {value[row]}")
