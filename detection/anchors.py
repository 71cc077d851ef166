"""Anchor boxes of the region proposal network."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detection.presets import Anchors

#: Side of the base box of py-faster-rcnn. Its rounded shapes are scaled to the anchor sizes.
CAFFE_BASE = 16


def cell_anchors(anchors: Anchors, level: int = 0) -> Float[Tensor, "A 4"]:
    """Return the anchors of one cell.

    `anchors.style` determines the order, the centre and the rounding for a size s and a ratio r:

    - `caffe`: ratio-major, centred at (7.5, 7.5). w = round(sqrt(16^2 / r)) and h = round(w r)
      are multiplied by s / 16. The width of a box is x2 - x1 + 1.
    - `detectron2`: size-major, centred at 0. w = s / sqrt(r) and h = r w are not rounded.
    - `torchvision`: ratio-major, centred at 0. w = s / sqrt(r), h = s sqrt(r), and the corners
      are rounded.

    Args:
        anchors: sizes, ratios and style of the anchors.
        level: index of the feature map.

    Returns:
        (A, 4) float32 boxes, xyxy in network pixels, relative to the cell.
    """
    sizes, ratios = anchors.sizes[level], anchors.ratios
    if anchors.style == "detectron2":
        shapes = [(math.sqrt(s**2 / r), r * math.sqrt(s**2 / r)) for s in sizes for r in ratios]
        return torch.tensor([[-w / 2, -h / 2, w / 2, h / 2] for w, h in shapes])
    if anchors.style == "torchvision":
        tall = torch.tensor(ratios).sqrt()
        side = torch.tensor(sizes)
        width = ((1 / tall)[:, None] * side[None]).flatten()
        height = (tall[:, None] * side[None]).flatten()
        return (torch.stack([-width, -height, width, height], 1) / 2).round()
    centre = (CAFFE_BASE - 1) / 2
    rows = []
    for ratio in ratios:
        base_w = round(math.sqrt(CAFFE_BASE**2 / ratio))
        base_h = round(base_w * ratio)
        for size in sizes:
            half_w = (base_w * size / CAFFE_BASE - 1) / 2
            half_h = (base_h * size / CAFFE_BASE - 1) / 2
            rows.append([centre - half_w, centre - half_h, centre + half_w, centre + half_h])
    return torch.tensor(rows)


def grid_anchors(
    anchors: Anchors, map_sizes: Sequence[tuple[int, int]], input_size: tuple[int, int]
) -> list[Float[Tensor, "_ 4"]]:
    """Return the anchors of every cell, per level.

    The order is position-major. The anchors of cell (y, x) are shifted by (y, x) times the stride.

    Args:
        anchors: sizes, ratios and strides of the anchors.
        map_sizes: (height, width) of the feature map, per level.
        input_size: (height, width) of the padded network input. It is used only if
            `anchors.is_stride_measured`.

    Returns:
        (height * width * A, 4) float32 boxes of each level, xyxy in network pixels.
    """
    levels = []
    for level, (height, width) in enumerate(map_sizes):
        stride_y = stride_x = anchors.strides[level]
        if anchors.is_stride_measured:
            stride_y, stride_x = input_size[0] // height, input_size[1] // width
        y, x = torch.meshgrid(
            torch.arange(height) * stride_y, torch.arange(width) * stride_x, indexing="ij"
        )
        shift = torch.stack([x, y, x, y], -1).reshape(-1, 1, 4)
        levels.append((shift + cell_anchors(anchors, level)).reshape(-1, 4))
    return levels
