"""Readout of action logits from the video representation and from single tokens."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

#: Score of every action before the training, for a video with this number of kept tokens.
FIRST_SCORE, FIRST_TOKENS = 0.02, 8


class Readout(nn.Linear):
    """Linear readout of z (Eq. 7), with an optional vote of every kept token.

        logits = W z + log(1 + sum_i g_i exp(v_i)),    v_i = U [LN(h_i), LN(x_i)]

    h_i is the transformer's output for token i, x_i its input without the position embedding, and
    g_i its gate. The second term is a soft maximum over the kept tokens and a constant 0: one token
    is enough to raise the logit of an action, and it is exactly 0 if no token is kept. With W z
    alone, an action that one token shows must first be found by the attention of [class].

    Before the training, every action has a score of about `FIRST_SCORE`, because most actions are
    absent (the prior of Lin et al., "Focal loss for dense object detection", section 4.1): the
    votes of `FIRST_TOKENS` tokens are as large as the constant, and the bias of W is the logit of
    this score less log 2. With other biases, the tokens together vote for every action, and the
    first steps of the training only undo this.

    Args:
        dim: width of z, of h and of x, D.
        num_classes: number of action classes, C.
        votes: if True, add the votes of the tokens.
    """

    def __init__(self, dim: int, num_classes: int, *, votes: bool) -> None:
        super().__init__(dim, num_classes)
        self.token = nn.Linear(2 * dim, num_classes) if votes else None
        first = math.log(FIRST_SCORE / (1 - FIRST_SCORE))
        if self.token is not None:
            first -= math.log(2)
            nn.init.constant_(self.token.bias, -math.log(FIRST_TOKENS))
        nn.init.constant_(self.bias, first)

    def forward(  # type: ignore[override]
        self,
        z: Float[Tensor, "B D"],
        tokens: Float[Tensor, "B L W"],
        gate: Float[Tensor, "B L"],
    ) -> Float[Tensor, "B C"]:
        """Compute action logits.

        Args:
            z: video representation.
            tokens: normalised outputs and inputs of the transformer for the tokens.
            gate: gates of the tokens, 0 for discarded tokens and padding.
        """
        logits = super().forward(z)
        if self.token is None or tokens.shape[1] == 0:
            return logits
        votes: Tensor = self.token(tokens).float()  # (B, L, C)
        gate = gate[..., None].float()
        top = votes.masked_fill(gate <= 0, float("-inf")).amax(1, keepdim=True).clamp(min=0.0)
        top = top.detach()
        # As in attention, a discarded token gets the gradient of the largest kept vote at most.
        gap = votes - top
        gap = torch.where(gate > 0, gap, gap.clamp(max=0.0))
        total = (gap.exp() * gate).sum(1) + (-top[:, 0]).exp()
        return logits + (total.log() + top[:, 0]).to(logits.dtype)
