"""Which boxes of a frame form a human-object pair."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

PERSON = 0


def human_object_pairs(
    labels: Int64[Tensor, "N"], scores: Float[Tensor, "N"]
) -> Int64[Tensor, "P 2"]:
    """Pair the top-scored human with every box that is no human.

    Args:
        labels: object classes; 0 is the person.
        scores: of the boxes; among humans of equal score the first counts.

    Returns:
        (human row, object row) in the order of the object rows; (0, 2) without a human or an
        object. Other humans form no pair.
    """
    is_human = labels == PERSON
    objects = (~is_human).nonzero()[:, 0]
    if not bool(is_human.any()):
        return labels.new_zeros(0, 2)
    human = scores.masked_fill(~is_human, float("-inf")).argmax()
    return torch.stack([human.expand(len(objects)), objects], 1)
