"""Token selectors (Eq. 3)."""

import math

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.noise import VideoNoise


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
        self,
        tokens: Float[Tensor, "B *N D"],
        class_token: Float[Tensor, "D"],
        noise: VideoNoise | None = None,
    ) -> tuple[Float[Tensor, "B *N"], Float[Tensor, "B *N"]]:
        """Select tokens.

        Args:
            tokens: x^(0), tokens of B videos with position embeddings.
            class_token: x_class, shared by all tokens.
            noise: noise of the videos in training mode. If None, it is drawn.

        Returns:
            A tuple of gates and keep probabilities. The gates are 0 or 1 and have a gradient in
            training mode. The probabilities are computed without noise.
        """
        shared = self.class_token(class_token).expand(*tokens.shape[:-1], -1)
        logits = self.mlp(torch.cat([self.token(tokens), shared], -1)).float()  # keep, drop
        probability = logits.softmax(-1)[..., 0]
        if self.training:
            noise = noise or VideoNoise.drawn(len(tokens), tokens.device)
            gumbel = -(-noise.uniform(*logits.shape[1:]).log()).log()
            soft = ((logits + gumbel) / self.temperature).softmax(-1)
            hard = F.one_hot(soft.argmax(-1), 2)
            gate = (hard - soft.detach() + soft)[..., 0]
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


def random_subsets(
    mask: Bool[Tensor, "B T K"], least: float, noise: VideoNoise | None = None
) -> Bool[Tensor, "B T K"]:
    """Draw a random subset of the tokens of each video.

    A network that is trained on random subsets predicts well from few tokens, and generalises
    better. On average, a third of the videos keep all tokens. The others keep each token with a
    probability that is drawn from [least, 1] for the video.

    Args:
        mask: True for real tokens.
        least: smallest probability; 1 keeps all tokens.
        noise: noise of the videos. If None, it is drawn.
    """
    if least >= 1:
        return mask
    noise = noise or VideoNoise.drawn(len(mask), mask.device)
    share = least + (1 - least) * noise.uniform(1, 1)
    share = share.masked_fill(noise.uniform(1, 1) < 1 / 3, 1.0)
    return mask & (noise.uniform(*mask.shape[1:]) < share)


def random_excerpts(
    mask: Bool[Tensor, "B T K"], least: float, noise: VideoNoise | None = None
) -> Bool[Tensor, "B T K"]:
    """Draw an excerpt of each video: a random subset of the tokens of consecutive frames.

    All runs of at least one frame up to the last frame with a token are equally likely.

    Args:
        mask: True for real tokens.
        least: smallest probability of keeping a token, see `random_subsets`.
        noise: noise of the videos. If None, it is drawn.
    """
    T = mask.shape[1]
    if not T:
        return mask
    noise = noise or VideoNoise.drawn(len(mask), mask.device)
    edge = torch.arange(T + 1, device=mask.device)
    frame = edge[:-1]
    last = (mask.any(2) * (frame + 1)).amax(1, keepdim=True).clamp(min=1)
    draws = noise.uniform(T + 1).masked_fill(edge > last, -1.0)
    ends = draws.topk(2, 1).indices.sort(1).values
    inside = (frame >= ends[:, :1]) & (frame < ends[:, 1:])
    return random_subsets(mask & inside[..., None], least, noise)
