"""Where the two boxes of a pair lie in their union, as two small images.

STTran, `draw_union_boxes`: with box coordinates mapped to [0, 27] relative to the union box, cell
(j, k) holds the share of it that the box covers, minus 1/2.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from relations.boxes import union_boxes

SIZE = 27


def spatial_masks(
    subject_boxes: Float[Tensor, "P 4"], object_boxes: Float[Tensor, "P 4"]
) -> Float[Tensor, "P 2 27 27"]:
    """Rasterise pairs.

    Args:
        subject_boxes: xyxy, pixels.
        object_boxes: same order.

    Returns:
        Values in [-1/2, 1/2]; channel 0 the subject, 1 the object. A union of zero width or height
        (the original divides by zero) counts as one of one pixel, so that nothing is covered.
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
