"""Transfer of annotated relations to detected boxes."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torchvision.ops import box_iou


def match_to_annotation(
    boxes: Float[Tensor, "N 4"],
    labels: Int64[Tensor, "N"],
    annotated_boxes: Float[Tensor, "M 4"],
    annotated_labels: Int64[Tensor, "M"],
    min_iou: float = 0.5,
) -> Int64[Tensor, "N"]:
    """Match detected boxes to annotated boxes of the same class, one to one.

    Matches are assigned greedily in order of decreasing IoU.

    Args:
        boxes: detected boxes, xyxy, pixels of the decoded frame.
        labels: classes of the detected boxes.
        annotated_boxes: annotated boxes of the same frame, xyxy.
        annotated_labels: classes of the annotated boxes.
        min_iou: minimum IoU of a match.

    Returns:
        Row of the matching annotated box for each detected box, or -1 if there is no match.
    """
    found = labels.new_full((len(boxes),), -1)
    if not len(boxes) or not len(annotated_boxes):
        return found
    overlap = box_iou(boxes, annotated_boxes) * (labels[:, None] == annotated_labels[None])
    rows, columns = (overlap >= min_iou).nonzero().unbind(1)
    order = overlap[rows, columns].argsort(descending=True, stable=True)
    taken: set[int] = set()
    for row, column in torch.stack([rows, columns], 1)[order].tolist():
        if int(found[row]) < 0 and column not in taken:
            found[row] = column
            taken.add(column)
    return found


def carry_predicates(
    pairs: Int64[Tensor, "P 2"], match: Int64[Tensor, "N"], predicates: Float[Tensor, "M R"]
) -> Float[Tensor, "P R"]:
    """Transfer annotated predicates to detected pairs.

    Args:
        pairs: (human row, object row) of the detected boxes.
        match: annotated row of each detected box, or -1; see `match_to_annotation`.
        predicates: predicates between the person and each annotated box.

    Returns:
        Predicates of the detected pairs. If a box of a pair has no match, the predicates are
        unknown and set to zeros.
    """
    human, object_ = match[pairs].unbind(1)
    known = (human >= 0) & (object_ >= 0)
    carried = predicates.new_zeros(len(pairs), predicates.shape[1])
    carried[known] = predicates[object_[known]]
    return carried
