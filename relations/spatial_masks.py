"""Spatial masks, which encode the positions of a pair's boxes within their union box.

As in STTran's `draw_union_boxes`, box coordinates are mapped to [0, 27] relative to the union box.
Cell (j, k) of a mask is the fraction of the cell that the box covers, minus 1/2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from relations.boxes import union_boxes

SIZE = 27


def spatial_masks(
    subject_boxes: Float[Tensor, "P 4"], object_boxes: Float[Tensor, "P 4"]
) -> Float[Tensor, "P 2 27 27"]:
    """Rasterise the boxes of each pair.

    Args:
        subject_boxes: subject boxes, xyxy, pixels.
        object_boxes: object boxes. Row p is paired with row p of `subject_boxes`.

    Returns:
        Masks with values in [-1/2, 1/2]. Channel 0 is the subject. Channel 1 is the object. If a
        union box has zero width or height, no cell is covered. STTran's implementation divides by
        zero in this case.

    Raises:
        ValueError: if a box has x2 < x1 or y2 < y1.
    """
    union = union_boxes(subject_boxes, object_boxes)
    size = union[:, 2:] - union[:, :2]
    size = torch.where(size > 0, size, torch.ones_like(size))
    boxes = torch.stack([subject_boxes, object_boxes], 1)
    corner = union[:, None, None, :2]
    relative = (boxes.view(-1, 2, 2, 2) - corner) / size[:, None, None] * SIZE
    cells = torch.arange(SIZE, dtype=boxes.dtype, device=boxes.device)
    low, high = relative[:, :, 0, :, None], relative[:, :, 1, :, None]  # (P, 2, xy, 1)
    covered = (cells + 1 - low).clamp(0, 1) * (high - cells).clamp(0, 1)  # (P, 2, xy, 27)
    return covered[:, :, 1, :, None] * covered[:, :, 0, None, :] - 0.5
