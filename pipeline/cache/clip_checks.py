"""What the arrays of a cached clip must be, whoever wrote them.

By numpy, and offsets by plain loops: a clip has many small arrays, and a call of torch costs
several times as much.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

PREDICATES = "predicates/"
_SHAPES: dict[str, tuple[int | None, ...]] = {
    "boxes": (None, 4),
    "labels": (None,),
    "scores": (None,),
    "distribution": (None, None),
    "box_features": (None, None),
    "pairs": (None, 2),
    "union_features": (None, None, 7, 7),
}
_INDICES = ("labels", "pairs")


def check_offsets(name: str, offsets: Tensor | np.ndarray, frames: int, rows: int) -> None:
    """ValueError unless offsets rise from 0 to `rows`, one for each frame and one more."""
    wanted = torch.int64 if isinstance(offsets, Tensor) else np.dtype(np.int64)
    values = offsets.tolist() if offsets.ndim == 1 and offsets.dtype == wanted else []
    ends = (values[0], values[-1]) if len(values) == frames + 1 else None
    if ends != (0, rows) or any(after < before for before, after in pairwise(values)):
        raise ValueError(f"{name}: {frames + 1} rising int64 from 0 to {rows} expected")


def check_shapes(arrays: Mapping[str, Tensor]) -> None:
    """ValueError for an array of a clip with other axes, or indices that are no whole numbers.

    Args:
        arrays: by their names in the file, relations as `predicates/SOURCE`.
    """
    for name, value in arrays.items():
        shape = (None, None) if name.startswith(PREDICATES) else _SHAPES[name]
        found = tuple(value.shape)
        if len(found) != len(shape) or not all(map(_fits, shape, found)):
            axes = ", ".join("*" if n is None else str(n) for n in shape)
            raise ValueError(f"{name}: shape ({axes}) expected, got {found}")
        if name in _INDICES and value.dtype != torch.int64:
            raise ValueError(f"{name}: int64 expected, got {value.dtype}")


def _fits(wanted: int | None, found: int) -> bool:
    return wanted is None or wanted == found


def check_pairs(pairs: Tensor, box_offsets: Tensor, pair_offsets: Tensor) -> None:
    """ValueError unless each pair names two boxes of its frame; for the arrays see `CachedClip`."""
    rows = pairs.numpy()
    of_boxes, of_pairs = box_offsets.numpy(), pair_offsets.numpy()
    num_boxes = np.repeat(of_boxes[1:] - of_boxes[:-1], of_pairs[1:] - of_pairs[:-1])
    # Below zero is beyond every number without a sign.
    if (rows.view(np.uint64) >= num_boxes.view(np.uint64)[:, None]).any():
        raise ValueError("pairs: rows of their frame's boxes expected, got one outside")
    if (rows[:, 0] == rows[:, 1]).any():
        raise ValueError("pairs: two boxes expected, got one with itself")


def check_values(arrays: Mapping[str, Tensor]) -> None:
    """ValueError for an inverted box, a label without a class, or a predicate not from 0 to 1."""
    boxes, labels = arrays["boxes"].numpy(), arrays["labels"].numpy()
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("boxes: x1 <= x2 and y1 <= y2 expected, got one that is inverted")
    classes = arrays["distribution"].shape[1]
    if (labels.view(np.uint64) >= classes).any():
        raise ValueError(f"labels: 0 to {classes - 1} expected, got one outside")
    for name, value in arrays.items():
        if not name.startswith(PREDICATES):
            continue
        shares = value.numpy()
        if not ((shares >= 0) & (shares <= 1)).all():
            raise ValueError(f"{name}: numbers from 0 to 1 expected, got others or NaN")
