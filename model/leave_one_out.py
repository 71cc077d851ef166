"""How much each kept token adds to each action: the score with it, less the score without it."""

import torch
from jaxtyping import Float
from torch import Tensor

from model.laiar import LaIAR
from model.tokens import ActionOutput, TokenBatch

_CHUNK = 32


def leave_one_out(model: LaIAR, batch: TokenBatch, output: ActionOutput) -> Float[Tensor, "T K C"]:
    """Contribution of each token of one video, given the selection that was made.

        contribution[t, k, c] = logit_c(kept) - logit_c(kept without (t, k))

    The other tokens stay kept. With context=kept the context is pooled again without the token left
    out. With discard=mask the transformer's sequence holds [class] and the tokens that remain.

    Args:
        model: in eval mode.
        batch: one video.
        output: `model.recognize(batch)`.

    Returns:
        Contributions in logits, zero for tokens that are not kept.

    Raises:
        ValueError: for a batch of several videos.
    """
    if len(batch) != 1:
        raise ValueError(f"batch: one video expected, got {len(batch)}")
    keep = output.keep[0]
    places = keep.nonzero()
    contributions = output.logits.new_zeros(*keep.shape, output.logits.shape[1])
    local = model.visual_encoder.local(model.visual(batch), batch.mask)
    for chunk in places.split(_CHUNK):
        n = len(chunk)
        without = keep.repeat(n, 1, 1)
        without[torch.arange(n, device=keep.device), chunk[:, 0], chunk[:, 1]] = False
        z, _, _ = model.former(
            local.expand(n, -1, -1, -1),
            batch.mask.expand(n, -1, -1),
            model.visual_encoder,
            keep=without,
            gather=True,
        )
        contributions[chunk[:, 0], chunk[:, 1]] = output.logits - model.video_head(z)
    return contributions
