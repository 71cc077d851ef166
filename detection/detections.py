"""Detections of one frame."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

FeatureSource = Literal["proposal", "box"]


@dataclass(frozen=True)
class Detections:
    """Boxes of one frame with labels, scores and features.

    All tensors have one row per box and are on the same device.

    Attributes:
        boxes: (N, 4) float32, xyxy in pixels of the decoded frame, inside the frame, with x2 >= x1
            and y2 >= y1.
        labels: (N,) int64 indices into the O object classes of the vocabulary. Class 0 is the
            person. There is no background class.
        scores: (N,) float32 in [0, 1]. Annotated boxes have the score 1.
        distribution: (N, O) float32 probabilities of the object classes.
        features: (N, F) float32 box features.
        image_size: (height, width) of the decoded frame in pixels.
        feature_source: region from which `features` are pooled. `proposal` is the RPN proposal
            from which the box was decoded. `box` is the box itself.

    Raises:
        ValueError: if a shape, dtype or value is not as described above. The message contains the
            name of the field. For an invalid value, it also contains the first invalid row.

    Example:
        >>> import torch
        >>> from detection.detections import Detections
        >>> detections = Detections(
        ...     boxes=torch.tensor([[0.0, 0.0, 4.0, 8.0], [2.0, 2.0, 6.0, 6.0]]),
        ...     labels=torch.tensor([0, 2]),
        ...     scores=torch.tensor([0.9, 0.4]),
        ...     distribution=torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.2, 0.6]]),
        ...     features=torch.zeros(2, 5),
        ...     image_size=(10, 10),
        ... )
        >>> len(detections)
        2
        >>> confident = detections[detections.scores > 0.5]
        >>> confident.labels
        tensor([0])
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
        """Return the rows selected by a boolean mask or by int64 indices."""
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
        """Return the detections of a frame without boxes."""
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
    """Check that boxes are finite, not inverted and inside the frame.

    Args:
        boxes: (N, 4) boxes, xyxy in frame pixels.
        height: height of the frame in pixels.
        width: width of the frame in pixels.

    Raises:
        ValueError: if a box is invalid. The message contains the first invalid row and its values.
    """
    x1, y1, x2, y2 = boxes.unbind(1)
    good = torch.isfinite(boxes).all(1) & (x1 <= x2) & (y1 <= y2)
    good &= (x1 >= 0) & (y1 >= 0) & (x2 <= width) & (y2 <= height)
    if not bool(good.all()):
        row = int((~good).nonzero()[0])
        raise ValueError(
            f"boxes: xyxy inside a {width}x{height} frame expected, got "
            f"{[round(v, 2) for v in boxes[row].tolist()]} in row {row}. Clip the boxes first"
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
        raise ValueError(
            f"{name}: values in [{low}, {high}] expected, got {value[row]} in row {row}"
        )
