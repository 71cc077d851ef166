"""Assignment of anchors and proposals to annotated boxes."""

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
    """Assign each box to a target (Ren et al. 2015, section 3.1.2).

    The best target of a box is the one with the highest IoU.

    Args:
        boxes: (N, 4) anchors or proposals, xyxy.
        targets: (M, 4) annotated boxes, xyxy.
        low: IoU threshold of background. A box whose highest IoU is below this value is background.
        high: IoU threshold of objects. A box whose highest IoU is at least this value is assigned
            to its best target. A box between `low` and `high` is ignored.
        offset: see `decode_boxes`.
        keep_best: if True, the box with the highest IoU with a target is always assigned to its
            own best target, unless this IoU is 0.

    Returns:
        (N,) int64 row in `targets` of each box, NEGATIVE for background, or IGNORED.
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
    generator: torch.Generator | None = None,
) -> tuple[Int64[Tensor, "p"], Int64[Tensor, "q"]]:
    """Sample positive and negative rows at random, without replacement.

    Args:
        is_positive: (N,) mask of the positive rows.
        is_negative: (N,) mask of the negative rows.
        num: maximum number of rows.
        positive_fraction: maximum fraction of positive rows in `num`. All other rows are negative.
        generator: generator on the CPU. If None, the global generator of torch is used.

    Returns:
        A tuple of the indices of the sampled positive rows and of the sampled negative rows.
    """
    positives, negatives = is_positive.nonzero()[:, 0], is_negative.nonzero()[:, 0]
    num_positive = min(len(positives), int(num * positive_fraction))
    num_negative = min(len(negatives), num - num_positive)

    def choose(rows: Tensor, num: int) -> Tensor:
        return rows[torch.randperm(len(rows), generator=generator)[:num].to(rows.device)]

    return choose(positives, num_positive), choose(negatives, num_negative)
