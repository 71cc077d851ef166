"""Matching of detected boxes with annotated boxes, to transfer annotated relations."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import box_area, box_iou

from relations.pairs import PERSON


def match_to_annotation(
    boxes: Float[Tensor, "N 4"],
    labels: Int64[Tensor, "N"],
    annotated_boxes: Float[Tensor, "M 4"],
    annotated_labels: Int64[Tensor, "M"],
    min_iou: float = 0.5,
    *,
    is_person_partial: bool = False,
) -> Int64[Tensor, "N"]:
    """Match detected boxes to annotated boxes of the same class, one to one.

    Matches are assigned greedily in order of decreasing IoU.

    Args:
        boxes: detected boxes, xyxy, pixels of the decoded frame.
        labels: classes of the detected boxes.
        annotated_boxes: annotated boxes of the same frame, xyxy.
        annotated_labels: classes of the annotated boxes.
        min_iou: minimum IoU of a match.
        is_person_partial: whether the annotated box of the person covers only a part of the person.
            Its overlap with a detected person is then its share inside the detected box.

    Returns:
        Row of the matching annotated box for each detected box, or -1 if there is no match.
    """
    found = labels.new_full((len(boxes),), -1)
    if not len(boxes) or not len(annotated_boxes):
        return found
    overlap = box_iou(boxes, annotated_boxes)
    if is_person_partial:
        person = annotated_labels == PERSON
        overlap[:, person] = _share_inside(annotated_boxes[person], boxes).T
    overlap = overlap * (labels[:, None] == annotated_labels[None])
    rows, columns = (overlap >= min_iou).nonzero().unbind(1)
    order = overlap[rows, columns].argsort(descending=True, stable=True)
    taken: set[int] = set()
    for row, column in torch.stack([rows, columns], 1)[order].tolist():
        if int(found[row]) < 0 and column not in taken:
            found[row] = column
            taken.add(column)
    return found


def _share_inside(boxes: Tensor, others: Tensor) -> Tensor:
    """Return the (N, M) share of the area of each box that lies inside each other box."""
    corner = torch.maximum(boxes[:, None, :2], others[None, :, :2])
    opposite = torch.minimum(boxes[:, None, 2:], others[None, :, 2:])
    inside = (opposite - corner).clamp(min=0).prod(2)
    area: Tensor = box_area(boxes)[:, None].clamp(min=torch.finfo(boxes.dtype).tiny)
    return inside / area
