"""Anchor boxes of the region proposal network, in the legacy rounding of py-faster-rcnn."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from detection.presets import Preset


def cell_anchors(preset: Preset) -> Float[Tensor, "A 4"]:
    """Anchors of one cell, ratio-major, xyxy around the base box (0, 0, base - 1, base - 1).

    Per ratio r the base area is kept: w = round(sqrt(base^2 / r)), h = round(w r); then both are
    multiplied by each scale. Widths count x2 - x1 + 1.
    """
    centre = (preset.anchor_base - 1) / 2
    rows = []
    for ratio in preset.anchor_ratios:
        width = round(math.sqrt(preset.anchor_base**2 / ratio))
        height = round(width * ratio)
        for scale in preset.anchor_scales:
            half_w, half_h = (width * scale - 1) / 2, (height * scale - 1) / 2
            rows.append([centre - half_w, centre - half_h, centre + half_w, centre + half_h])
    return torch.tensor(rows)


def grid_anchors(preset: Preset, height: int, width: int) -> Float[Tensor, "hwA 4"]:
    """Anchors of an (height, width) map, position-major; cell (y, x) is shifted by 16 (x, y)."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shift = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4) * preset.stride
    return (shift + cell_anchors(preset)).reshape(-1, 4)
