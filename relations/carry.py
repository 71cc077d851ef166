"""Annotated relations on detected boxes."""

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
    """Annotated box of each detected one: one to one, same class, largest overlap first.

    Args:
        boxes: detected, xyxy, pixels of the frame.
        labels: their classes.
        annotated_boxes: xyxy, same frame.
        annotated_labels: their classes.
        min_iou: least overlap.

    Returns:
        Row of the annotation, or -1.
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
    """Predicates of detected pairs.

    Args:
        pairs: (human row, object row) of the detections.
        match: annotated row of each detection, or -1; see `match_to_annotation`.
        predicates: of each annotated object with the person.

    Returns:
        Zeros for a pair of which a member is not annotated: its relation is not known.
    """
    human, object_ = match[pairs].unbind(1)
    known = (human >= 0) & (object_ >= 0)
    carried = predicates.new_zeros(len(pairs), predicates.shape[1])
    carried[known] = predicates[object_[known]]
    return carried
