"""Box deltas to boxes."""

import torch
from jaxtyping import Float
from torch import Tensor


def decode_boxes(
    boxes: Float[Tensor, "N 4"], deltas: Float[Tensor, "N 4"], offset: float
) -> Float[Tensor, "N 4"]:
    """Move boxes by (dx, dy, dw, dh): c' = c + d w, w' = w exp(dw).

    Args:
        boxes: xyxy.
        deltas: already multiplied by their standard deviations; dw and dh are not clamped.
        offset: 1 where a width is x2 - x1 + 1 (the result then is c' -+ w'/2, without -1, as in
            py-faster-rcnn), else 0.

    Returns:
        xyxy, not clipped.
    """
    size = boxes[:, 2:] - boxes[:, :2] + offset
    centre = boxes[:, :2] + 0.5 * size
    centre = centre + deltas[:, :2] * size
    half = 0.5 * size * deltas[:, 2:].exp()
    return torch.cat([centre - half, centre + half], 1)


def clip_boxes(
    boxes: Float[Tensor, "N 4"], width: int, height: int, offset: float
) -> Float[Tensor, "N 4"]:
    """Clip to [0, width - offset] x [0, height - offset]; NaN and infinity become the border."""
    limit = boxes.new_tensor([width - offset, height - offset] * 2)
    return boxes.nan_to_num(nan=0.0).clamp(min=0).minimum(limit)
