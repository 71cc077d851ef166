"""Human-object pairs of a frame."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

PERSON = 0


def human_object_pairs(
    labels: Int64[Tensor, "N"], scores: Float[Tensor, "N"], human: int | None = None
) -> Int64[Tensor, "P 2"]:
    """Pair one human with every non-human box.

    All other humans are ignored.

    Args:
        labels: object classes of the boxes. Class 0 is the person.
        scores: scores of the boxes.
        human: row of the human. If None, it is the human with the highest score, and of several
            such humans the first one.

    Returns:
        Rows (human, object) of the pairs, in the order of the object rows. The shape is (0, 2) if
        there is no human or no object.
    """
    is_human = labels == PERSON
    objects = (~is_human).nonzero()[:, 0]
    if not bool(is_human.any()):
        return labels.new_zeros(0, 2)
    if human is None:
        human = int(scores.masked_fill(~is_human, float("-inf")).argmax())
    return torch.stack([torch.full_like(objects, human), objects], 1)
