"""Human-object pairs of a frame."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

PERSON = 0


def human_object_pairs(
    labels: Int64[Tensor, "N"], scores: Float[Tensor, "N"]
) -> Int64[Tensor, "P 2"]:
    """Pair the human with the highest score with every non-human box.

    All other humans are ignored.

    Args:
        labels: object classes of the boxes. Class 0 is the person.
        scores: scores of the boxes. If several humans have the highest score, the first is used.

    Returns:
        Rows (human, object) of the pairs, in the order of the object rows. The shape is (0, 2) if
        there is no human or no object.
    """
    is_human = labels == PERSON
    objects = (~is_human).nonzero()[:, 0]
    if not bool(is_human.any()):
        return labels.new_zeros(0, 2)
    human = scores.masked_fill(~is_human, float("-inf")).argmax()
    return torch.stack([human.expand(len(objects)), objects], 1)
