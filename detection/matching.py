"""Which box an anchor or a proposal is trained towards."""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torchvision.ops import box_iou

from detection.box_coder import with_offset

NEGATIVE, IGNORED = -1, -2


def match_boxes(
    boxes: Float[Tensor, "N 4"],
    targets: Float[Tensor, "M 4"],
    *,
    low: float,
    high: float,
    offset: float = 0.0,
    keep_best: bool = False,
) -> Int64[Tensor, "N"]:
    """The target each box belongs to (Ren et al. 2015, section 3.1.2).

    Args:
        boxes: anchors or proposals, xyxy.
        targets: annotated boxes, xyxy.
        low: below this IoU with every target, a box is background.
        high: from this IoU on, a box belongs to its best target; between the two it is ignored.
        offset: see `decode_boxes`.
        keep_best: every target also gets the boxes that overlap it most, however little (but at
            all).

    Returns:
        Row of `targets`, or NEGATIVE, or IGNORED.
    """
    found = boxes.new_full((len(boxes),), NEGATIVE, dtype=torch.int64)
    if not len(targets) or not len(boxes):
        return found
    overlap = box_iou(with_offset(boxes, offset), with_offset(targets, offset))
    best, of = overlap.max(1)
    found[best >= low] = IGNORED
    found = torch.where(best >= high, of, found)
    if keep_best:
        most = overlap.max(0).values
        is_most = ((overlap == most) & (most > 0)).any(1)
        found = torch.where(is_most, of, found)
    return found


def sample_balanced(
    is_positive: Bool[Tensor, "N"],
    is_negative: Bool[Tensor, "N"],
    num: int,
    positive_fraction: float,
) -> tuple[Int64[Tensor, "p"], Int64[Tensor, "q"]]:
    """Random rows: at most `positive_fraction` of `num` positives, negatives for the rest."""
    positives, negatives = is_positive.nonzero()[:, 0], is_negative.nonzero()[:, 0]
    num_positive = min(len(positives), int(num * positive_fraction))
    num_negative = min(len(negatives), num - num_positive)
    return _choose(positives, num_positive), _choose(negatives, num_negative)


def _choose(rows: Tensor, num: int) -> Tensor:
    return rows[torch.randperm(len(rows))[:num].to(rows.device)]
