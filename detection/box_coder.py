"""Conversion between boxes and box deltas."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def decode_boxes(
    boxes: Float[Tensor, "N 4"],
    deltas: Float[Tensor, "N 4"],
    offset: float,
    max_delta: float = math.inf,
) -> Float[Tensor, "N 4"]:
    """Apply deltas (dx, dy, dw, dh) to boxes: c' = c + d w, w' = w exp(dw).

    Args:
        boxes: (N, 4) boxes, xyxy.
        deltas: (N, 4) deltas, already multiplied by their standard deviations.
        offset: 1 if the width of a box is x2 - x1 + 1, else 0. The corners of the result are
            c' -+ w'/2 in both cases. As in py-faster-rcnn, 1 is not subtracted.
        max_delta: upper bound of dw and dh.

    Returns:
        (N, 4) boxes, xyxy, not clipped.
    """
    size = boxes[:, 2:] - boxes[:, :2] + offset
    centre = boxes[:, :2] + 0.5 * size
    centre = centre + deltas[:, :2] * size
    half = 0.5 * size * deltas[:, 2:].clamp(max=max_delta).exp()
    return torch.cat([centre - half, centre + half], 1)


def encode_boxes(
    boxes: Float[Tensor, "N 4"], targets: Float[Tensor, "N 4"], offset: float
) -> Float[Tensor, "N 4"]:
    """Return the deltas that move boxes onto targets: (c' - c) / w, log(w' / w).

    With offset 0, this is the inverse of `decode_boxes`. With offset 1, decoded boxes are one pixel
    wider and higher than the targets, as in py-faster-rcnn. Sides shorter than 0.001 are treated
    as 0.001.

    Args:
        boxes: (N, 4) boxes, xyxy.
        targets: (N, 4) target boxes, xyxy.
        offset: see `decode_boxes`.

    Returns:
        (N, 4) deltas, not divided by their standard deviations.
    """
    size = (boxes[:, 2:] - boxes[:, :2] + offset).clamp(min=1e-3)
    wanted = (targets[:, 2:] - targets[:, :2] + offset).clamp(min=1e-3)
    centre = boxes[:, :2] + 0.5 * size
    goal = targets[:, :2] + 0.5 * wanted
    return torch.cat([(goal - centre) / size, (wanted / size).log()], 1)


def clip_boxes(
    boxes: Float[Tensor, "N 4"], width: int, height: int, offset: float
) -> Float[Tensor, "N 4"]:
    """Clip boxes to [0, width - offset] x [0, height - offset].

    NaN is replaced by 0. Infinity is replaced by the nearest border.
    """
    limit = boxes.new_tensor([width - offset, height - offset] * 2)
    return boxes.nan_to_num(nan=0.0).clamp(min=0).minimum(limit)


def with_offset(boxes: Float[Tensor, "N 4"], offset: float) -> Float[Tensor, "N 4"]:
    """Return boxes with `offset` added to x2 and y2.

    With widths x2 - x1, the returned boxes have the same areas and overlaps as `boxes` with widths
    x2 - x1 + offset.
    """
    return torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)


def is_at_least(boxes: Float[Tensor, "N 4"], min_size: float) -> Tensor:
    """Return an (N,) bool mask of the boxes whose sides are both at least `min_size`.

    If `min_size` is 0, both sides must be longer than 0.
    """
    sides = boxes[:, 2:] - boxes[:, :2]
    return ((sides > 0) if min_size == 0 else (sides >= min_size)).all(1)
