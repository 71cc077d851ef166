"""Anchor boxes of the region proposal network, in the rounding of each family."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from detection.presets import Anchors

#: Side of the box whose rounded shapes are multiplied in py-faster-rcnn.
CAFFE_BASE = 16


def cell_anchors(anchors: Anchors, level: int = 0) -> Float[Tensor, "A 4"]:
    """Anchors of one cell, xyxy.

    caffe: ratio-major, around (7.5, 7.5); per ratio r, w = round(sqrt(16^2 / r)), h = round(w r),
    then both times size / 16; widths count x2 - x1 + 1. detectron2: size-major, around 0,
    w = size / sqrt(r), h = r w, not rounded. torchvision: ratio-major, around 0, corners rounded.
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
    """Anchors of the maps of all levels, position-major; cell (y, x) is shifted by its stride.

    Args:
        anchors: sizes, ratios, strides.
        map_sizes: (height, width) per level.
        input_size: (height, width) of the padded network input; used where strides are measured.

    Returns:
        Per level (height width A, 4), xyxy in network pixels.
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
