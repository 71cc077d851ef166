"""Leave-one-out contributions of kept tokens to the action logits."""

import torch
from jaxtyping import Float
from torch import Tensor

from model.laiar import LaIAR
from model.tokens import ActionOutput, TokenBatch

_CHUNK = 32


def leave_one_out(model: LaIAR, batch: TokenBatch, output: ActionOutput) -> Float[Tensor, "T K C"]:
    """Compute the contribution of each kept token of one video to each action.

        contribution[t, k, c] = logit_c(kept tokens) - logit_c(kept tokens without (t, k))

    All other kept tokens remain in the input. With context=kept, the context is pooled again
    without the omitted token. With discard=mask, the transformer's sequence consists of [class]
    and the remaining tokens.

    Args:
        model: network in eval mode.
        batch: batch of one video.
        output: result of `model.recognize(batch)`, which determines the kept tokens.

    Returns:
        Contributions in logits, zero for tokens that are not kept.

    Raises:
        ValueError: if the batch does not contain exactly one video.
    """
    if len(batch) != 1:
        raise ValueError(f"batch: one video expected, got {len(batch)}")
    keep = output.keep[0]
    places = keep.nonzero()
    contributions = output.logits.new_zeros(*keep.shape, output.logits.shape[1])
    tokens, _, grid = model.video_tokens(batch)
    for chunk in places.split(_CHUNK):
        n = len(chunk)
        without = keep.repeat(n, 1, 1)
        without[torch.arange(n, device=keep.device), chunk[:, 0], chunk[:, 1]] = False
        logits = model.score_subsets(tokens, grid, without)
        contributions[chunk[:, 0], chunk[:, 1]] = output.logits - logits
    return contributions
