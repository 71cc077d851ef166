"""Box deltas to boxes, and back."""

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
    """Move boxes by (dx, dy, dw, dh): c' = c + d w, w' = w exp(dw).

    Args:
        boxes: xyxy.
        deltas: already multiplied by their standard deviations.
        offset: 1 where a width is x2 - x1 + 1 (the result then is c' -+ w'/2, without -1, as in
            py-faster-rcnn), else 0.
        max_delta: upper bound of dw and dh.

    Returns:
        xyxy, not clipped.
    """
    size = boxes[:, 2:] - boxes[:, :2] + offset
    centre = boxes[:, :2] + 0.5 * size
    centre = centre + deltas[:, :2] * size
    half = 0.5 * size * deltas[:, 2:].clamp(max=max_delta).exp()
    return torch.cat([centre - half, centre + half], 1)


def encode_boxes(
    boxes: Float[Tensor, "N 4"], targets: Float[Tensor, "N 4"], offset: float
) -> Float[Tensor, "N 4"]:
    """Deltas that move boxes onto targets: (c' - c) / w, log(w' / w); not divided by deviations.

    With offset 0 the inverse of `decode_boxes`; with offset 1 decoding comes out half a pixel to
    each side larger, as in py-faster-rcnn. Sides of less than a thousandth count as that.
    """
    size = (boxes[:, 2:] - boxes[:, :2] + offset).clamp(min=1e-3)
    wanted = (targets[:, 2:] - targets[:, :2] + offset).clamp(min=1e-3)
    centre = boxes[:, :2] + 0.5 * size
    goal = targets[:, :2] + 0.5 * wanted
    return torch.cat([(goal - centre) / size, (wanted / size).log()], 1)


def clip_boxes(
    boxes: Float[Tensor, "N 4"], width: int, height: int, offset: float
) -> Float[Tensor, "N 4"]:
    """Clip to [0, width - offset] x [0, height - offset]; NaN and infinity become the border."""
    limit = boxes.new_tensor([width - offset, height - offset] * 2)
    return boxes.nan_to_num(nan=0.0).clamp(min=0).minimum(limit)


def with_offset(boxes: Float[Tensor, "N 4"], offset: float) -> Float[Tensor, "N 4"]:
    """Boxes whose plain areas and overlaps are those of `boxes` counted with +offset widths."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)


def is_at_least(boxes: Float[Tensor, "N 4"], min_size: float) -> Tensor:
    """(N,) bool: both sides reach `min_size`; with 0, both are longer than 0."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return ((sides > 0) if min_size == 0 else (sides >= min_size)).all(1)
