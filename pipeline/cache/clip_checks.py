"""Checks of the shapes and values of a cached clip's arrays.

A clip has many small arrays. The checks use numpy and `np.count_nonzero`, because torch calls and
`any` take several times as long on small arrays.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy import count_nonzero
from torch import Tensor

PREDICATES = "predicates/"
#: Number of dimensions of each array, and the sizes of its last dimensions.
_SHAPES: dict[str, tuple[int, tuple[int, ...]]] = {
    "boxes": (2, (4,)),
    "labels": (1, ()),
    "instances": (1, ()),
    "scores": (1, ()),
    "distribution": (2, ()),
    "box_features": (2, ()),
    "pairs": (2, (2,)),
    "union_features": (4, (7, 7)),
}
_INDICES = ("labels", "pairs", "instances")


def check_offsets(name: str, offsets: Tensor | np.ndarray, frames: int, rows: int) -> None:
    """Check that offsets are `frames + 1` non-decreasing int64 values from 0 to `rows`.

    Args:
        name: name of the array, used in the error message.
        offsets: the offsets.
        frames: number of frames.
        rows: number of boxes or pairs.

    Raises:
        ValueError: if the offsets are invalid.
    """
    array = offsets.numpy() if isinstance(offsets, Tensor) else offsets
    values = array.tolist() if array.shape == (frames + 1,) and array.dtype == np.int64 else [-1]
    if values[0] != 0 or values[-1] != rows or values != sorted(values):
        raise ValueError(f"{name}: {frames + 1} non-decreasing int64 from 0 to {rows} expected")


def check_shapes(arrays: Mapping[str, Tensor], rows: int) -> None:
    """Check the shapes of a clip's arrays and the dtype of its indices.

    Args:
        arrays: arrays by name, as in the file. Predicates have the name `predicates/SOURCE`.
        rows: number of rows of each array.

    Raises:
        ValueError: if a shape is wrong, or `labels`, `pairs` or `instances` are not int64.
    """
    for name, value in arrays.items():
        shape = tuple(value.shape)
        dims, last = _SHAPES.get(name, (2, ()))
        if len(shape) != dims or shape[dims - len(last) :] != last:
            axes = ", ".join(["*"] * (dims - len(last)) + [str(n) for n in last])
            raise ValueError(f"{name}: shape ({axes}) expected, got {shape}")
        if shape[0] != rows:
            raise ValueError(f"{name}: {rows} rows expected, got {shape[0]}")
        if name in _INDICES and value.dtype != torch.int64:
            raise ValueError(f"{name}: int64 expected, got {value.dtype}")


def check_pairs(pairs: Tensor, box_offsets: Tensor, pair_offsets: Tensor) -> None:
    """Check that each pair consists of two boxes of its frame, which may be the same.

    Args:
        pairs: (P, 2) int64, see `CachedClip`.
        box_offsets: (T + 1,) int64.
        pair_offsets: (T + 1,) int64.

    Raises:
        ValueError: if a pair refers to a box outside its frame.
    """
    rows, of_boxes, of_pairs = pairs.numpy(), box_offsets.numpy(), pair_offsets.numpy()
    num_boxes = np.repeat(of_boxes[1:] - of_boxes[:-1], of_pairs[1:] - of_pairs[:-1])
    # As uint64, a negative index is larger than every number of boxes.
    if count_nonzero(rows.view(np.uint64) >= num_boxes.view(np.uint64)[:, None]):
        raise ValueError("pairs: box rows of the same frame expected, got a row out of range")


def check_inside(boxes: Tensor, width: int, height: int) -> None:
    """Check that boxes lie inside frames, up to one pixel.

    Args:
        boxes: (N, 4) boxes (x1, y1, x2, y2) in pixels.
        width: width of the frames in pixels.
        height: height of the frames in pixels.

    Raises:
        ValueError: if a box reaches beyond a frame, or a coordinate is not finite.
    """
    limit = torch.tensor([width, height, width, height], device=boxes.device) + 1
    outside = ~((boxes >= -1) & (boxes <= limit)).all(1)
    if outside.any():
        box = [round(value, 1) for value in boxes[outside][0].tolist()]
        raise ValueError(f"boxes: boxes inside frames of {width}x{height} expected, got {box}")


def check_values(arrays: Mapping[str, Tensor]) -> None:
    """Check the values of boxes, labels and predicates.

    Args:
        arrays: arrays by name, see `check_shapes`.

    Raises:
        ValueError: if a box is inverted, a label is not a column of `distribution`, or a predicate
            is not in [0, 1].
    """
    boxes, labels = arrays["boxes"].numpy(), arrays["labels"].numpy()
    if count_nonzero(boxes[:, 2:] < boxes[:, :2]):
        raise ValueError("boxes: x1 <= x2 and y1 <= y2 expected, got an inverted box")
    classes = arrays["distribution"].shape[1]
    if count_nonzero(labels.view(np.uint64) >= classes):
        raise ValueError(f"labels: 0 to {classes - 1} expected, got a label out of range")
    for name, value in arrays.items():
        if not name.startswith(PREDICATES):
            continue
        shares = value.numpy()
        if count_nonzero((shares >= 0) & (shares <= 1)) < shares.size:
            raise ValueError(f"{name}: values from 0 to 1 expected, got NaN or values out of range")
