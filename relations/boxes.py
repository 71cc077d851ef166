"""Union boxes of pairs."""

import torch
from jaxtyping import Float
from torch import Tensor


def union_boxes(
    subject_boxes: Float[Tensor, "P 4"], object_boxes: Float[Tensor, "P 4"]
) -> Float[Tensor, "P 4"]:
    """Compute the smallest box that encloses both boxes of each pair.

    Args:
        subject_boxes: subject boxes, xyxy, pixels of the decoded frame.
        object_boxes: object boxes of the same frame. Row p is paired with row p of
            `subject_boxes`.

    Returns:
        Union boxes, xyxy. The shape is (0, 4) if there are no pairs.

    Raises:
        ValueError: if a box has x2 < x1 or y2 < y1. The message contains the row and the values of
            the first such box.
    """
    for name, boxes in (("subject", subject_boxes), ("object", object_boxes)):
        inverted = (boxes[:, 2:] < boxes[:, :2]).any(1)
        if bool(inverted.any()):
            row = int(inverted.nonzero()[0])
            raise ValueError(
                f"{name} boxes: x1 <= x2 and y1 <= y2 expected, got {boxes[row].tolist()} in row "
                f"{row}"
            )
    corner = torch.minimum(subject_boxes[:, :2], object_boxes[:, :2])
    opposite = torch.maximum(subject_boxes[:, 2:], object_boxes[:, 2:])
    return torch.cat([corner, opposite], 1)
