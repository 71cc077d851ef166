"""Token selectors (Eq. 3)."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn


class TokenSelector(nn.Module):
    """Hard selector of tokens or frames (Eq. 3): u = GSM(MLP([W_1 x, W_2 x_class])).

    GSM is the straight-through Gumbel-softmax. In training mode, Gumbel noise is added to the
    logits, and the hard choice has the gradient of the soft choice. In eval mode, no noise is
    added. A token is kept if its keep logit exceeds its drop logit. The choice is computed in
    float32.

    Args:
        dim: width of tokens and [class], D.
        initial_keep: initial probability of keeping a token. It determines the initial bias of the
            last layer.
        temperature: temperature of the Gumbel-softmax.

    Raises:
        ValueError: if `initial_keep` is not between 0 and 1.
    """

    def __init__(self, dim: int, *, initial_keep: float = 0.9, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < initial_keep < 1:
            raise ValueError(f"initial_keep: a probability in (0, 1) expected, got {initial_keep}")
        half = max(dim // 2, 1)
        self.token = nn.Linear(dim, half)  # W_1
        self.class_token = nn.Linear(dim, half)  # W_2
        self.mlp = nn.Sequential(
            nn.GELU(), nn.Linear(2 * half, half), nn.GELU(), nn.Linear(half, 2)
        )
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)
        with torch.no_grad():
            last.bias.copy_(torch.tensor([math.log(initial_keep / (1 - initial_keep)), 0.0]))
        self.temperature = temperature

    def forward(
        self, tokens: Float[Tensor, "*N D"], class_token: Float[Tensor, "D"]
    ) -> tuple[Float[Tensor, "*N"], Float[Tensor, "*N"]]:
        """Select tokens.

        Args:
            tokens: x^(0), tokens with position embeddings.
            class_token: x_class, shared by all tokens.

        Returns:
            A tuple of gates and keep probabilities. The gates are 0 or 1 and have a gradient in
            training mode. The probabilities are computed without noise.
        """
        shared = self.class_token(class_token).expand(*tokens.shape[:-1], -1)
        logits = self.mlp(torch.cat([self.token(tokens), shared], -1)).float()  # keep, drop
        probability = logits.softmax(-1)[..., 0]
        if self.training:
            gate = F.gumbel_softmax(logits, self.temperature, hard=True)[..., 0]
        else:
            gate = (logits[..., 0] > logits[..., 1]).float()
        return gate, probability


def frame_means(
    tokens: Float[Tensor, "B T K D"], mask: Bool[Tensor, "B T K"]
) -> Float[Tensor, "B T D"]:
    """Return the mean of the real tokens of each frame.

    The mean is zero for a frame without tokens.
    """
    total = tokens.masked_fill(~mask[..., None], 0.0).sum(2)
    return total / mask.sum(2).clamp(min=1)[..., None]


def random_subsets(mask: Bool[Tensor, "B T K"], least: float) -> Bool[Tensor, "B T K"]:
    """Draw a random subset of the tokens of each video.

    A network that is trained on random subsets predicts well from few tokens, and generalises
    better. On average, a third of the videos keep all tokens. The others keep each token with a
    probability that is drawn from [least, 1] for the video.

    Args:
        mask: True for real tokens.
        least: smallest probability; 1 keeps all tokens.
    """
    if least >= 1:
        return mask
    share = torch.empty(len(mask), 1, 1).uniform_(least, 1.0)
    share[torch.rand(share.shape) < 1 / 3] = 1.0
    return mask & (torch.rand(mask.shape) < share).to(mask.device)


def random_excerpts(mask: Bool[Tensor, "B T K"], least: float) -> Bool[Tensor, "B T K"]:
    """Draw an excerpt of each video: a random subset of the tokens of consecutive frames.

    All runs of at least one frame up to the last frame with a token are equally likely.

    Args:
        mask: True for real tokens.
        least: smallest probability of keeping a token, see `random_subsets`.
    """
    B, T, _ = mask.shape
    if not T:
        return mask
    edge, frame = torch.arange(T + 1), torch.arange(T)
    last = (mask.any(2).cpu() * (frame + 1)).amax(1, keepdim=True).clamp(min=1)
    draws = torch.rand(B, T + 1).masked_fill(edge > last, -1.0)
    ends = draws.topk(2, 1).indices.sort(1).values
    inside = (frame >= ends[:, :1]) & (frame < ends[:, 1:])
    return random_subsets(mask & inside[..., None].to(mask.device), least)
