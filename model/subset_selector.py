"""Selector of the preset `strict`, which learns the subset of tokens that a prediction rests on."""

import math
from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from model.losses import bernoulli_divergence, softmax_divergence
from model.noise import VideoNoise
from model.tokens import TokenGrid
from model.transitions import next_kept, previous_kept

#: Subsets that are drawn per video and step.
SAMPLES = 4
#: Least probability of each choice while subsets are drawn. A token is thus never lost for good.
EXPLORATION = 0.02
#: Initial probability of keeping a token.
INITIAL_KEEP = 0.75


class SubsetSelector(nn.Module):
    """Ranks the tokens by the logit z of keeping them, see `preserving_subset`.

        z_i = MLP([y_i, y_i - y_p, y_n - y_i, 1_p, 1_n]),    y = LN(x)

    x_i is the token before transitions and positions. p and n are the previous and the next token
    of its track, and 1_p and 1_n are 0 if there is none. The differences tell the tokens at which a
    relation changes from those that repeat it.

    `selection_loss` trains the logits by the policy gradient. The choice is binary and has no
    gradient of its own.

    Args:
        dim: width of the tokens, D.
        by_frame: if True, z is the mean over the tokens of a frame, so that whole frames are kept.
    """

    def __init__(self, dim: int, *, by_frame: bool = False) -> None:
        super().__init__()
        self.by_frame = by_frame
        self.norm = nn.LayerNorm(dim)
        self.mlp = nn.Sequential(nn.Linear(3 * dim + 2, 2 * dim), nn.GELU(), nn.Linear(2 * dim, 1))
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.constant_(last.bias, math.log(INITIAL_KEEP / (1 - INITIAL_KEEP)))

    def forward(self, tokens: Float[Tensor, "B T K D"], grid: TokenGrid) -> Float[Tensor, "B T K"]:
        """Compute the logits of keeping each token; those of padding have no meaning.

        Args:
            tokens: tokens before transitions and positions.
            grid: grid of the tokens.
        """
        B, T, K, D = tokens.shape
        mask = grid.mask
        flat = (self.norm(tokens) * mask[..., None]).reshape(B, T * K, D)
        parts = [flat]
        flags = []
        for neighbours, sign in ((previous_kept, 1.0), (next_kept, -1.0)):
            place, exists = neighbours(mask, grid.tracks)
            has = exists[..., None].to(flat.dtype)
            other = flat.gather(1, place[..., None].expand(-1, -1, D))
            parts.append(sign * (flat - other) * has)
            flags.append(has)
        z: Tensor = self.mlp(torch.cat([*parts, *flags], -1)).view(B, T, K).float()
        if not self.by_frame:
            return z
        total = z.masked_fill(~mask, 0.0).sum(2, keepdim=True)
        return (total / mask.sum(2, keepdim=True).clamp(min=1)).expand(B, T, K)


def divergence(
    full: Float[Tensor, "B C"], logits: Float[Tensor, "n B C"], *, multi_label: bool
) -> Float[Tensor, "n B"]:
    """Compute the Kullback-Leibler divergence KL(p_full || p) of predictions in nats.

    Args:
        full: action logits of the prediction from all tokens.
        logits: action logits of n other predictions.
        multi_label: if True, the sum over the classes' Bernoulli distributions. Otherwise, the
            divergence of the softmax distributions.
    """
    full = full.expand_as(logits)
    if multi_label:
        return bernoulli_divergence(full, logits).sum(-1)
    return softmax_divergence(full, logits)


def keep_probability(logits: Tensor) -> Tensor:
    """Return the probability with which a token is drawn in training, see `EXPLORATION`.

    Args:
        logits: logits of keeping the tokens.
    """
    return EXPLORATION + (1 - 2 * EXPLORATION) * logits.sigmoid()


def draw_subsets(
    logits: Float[Tensor, "B T K"],
    mask: Bool[Tensor, "B T K"],
    *,
    samples: int,
    by_frame: bool,
    noise: VideoNoise | None = None,
) -> Bool[Tensor, "n B T K"]:
    """Draw subsets of tokens from their keep probabilities, which `EXPLORATION` bounds.

    Args:
        logits: logits of keeping the tokens.
        mask: True for real tokens.
        samples: number of subsets per video, n.
        by_frame: if True, one draw decides on all tokens of a frame.
        noise: noise of the videos. If None, it is drawn.
    """
    p = keep_probability(logits.detach())
    _, T, K = logits.shape
    noise = noise or VideoNoise.drawn(len(logits), logits.device)
    draws = noise.uniform(samples, T, 1 if by_frame else K).transpose(0, 1)
    return (draws < p) & mask


def preserving_subset(
    logits: Float[Tensor, "B T K"],
    mask: Bool[Tensor, "B T K"],
    score: Callable[[Tensor, Tensor], Tensor],
    *,
    tolerance: float,
    multi_label: bool,
) -> Bool[Tensor, "B T K"]:
    """Select the tokens that preserve the prediction.

        S = {i: z_i > 0}                if d(S) <= tolerance
        S = {i: z_i >= theta}           otherwise

    d(S) is the divergence of the prediction from S alone from the prediction from all tokens. theta
    is found for each video by bisection over its logits, so that d(S) is at most the tolerance, up
    to rounding. All tokens are kept if no smaller set is found.

    Args:
        logits: logits z of keeping the tokens of B videos.
        mask: True for real tokens.
        score: function that returns the action logits (n, C) for the indices (n,) of n videos, and
            one subset (n, T, K) of each.
        tolerance: tolerance in nats.
        multi_label: see `divergence`.
    """
    logits = logits.masked_fill(logits.isnan(), float("-inf"))
    videos = torch.arange(len(mask), device=mask.device)
    full = score(videos, mask)

    def preserves(videos: Int64[Tensor, "n"], keep: Bool[Tensor, "n T K"]) -> Bool[Tensor, "n"]:
        logits = score(videos, keep)[None]
        return divergence(full[videos], logits, multi_label=multi_label)[0] <= tolerance

    keep = mask & (logits > 0)
    videos = videos[~preserves(videos, keep) & mask.flatten(1).any(1)]
    if not len(videos):
        return keep
    z, real = logits[videos], mask[videos]
    ordered = z.masked_fill(~real, float("-inf")).flatten(1).sort(1, descending=True).values
    low, high = keep[videos].sum((1, 2)), real.sum((1, 2))  # too few tokens, and enough tokens

    def first(num: Int64[Tensor, "n"]) -> Bool[Tensor, "n T K"]:
        theta = ordered.gather(1, (num - 1).clamp(min=0)[:, None])
        return real & (z >= theta[..., None])

    while bool((searching := high - low > 1).any()):
        middle = (low + high) // 2
        enough = torch.zeros_like(searching)
        enough[searching] = preserves(videos[searching], first(middle)[searching])
        high = torch.where(searching & enough, middle, high)
        low = torch.where(searching & ~enough, middle, low)
    keep[videos] = first(high)
    return keep


def selection_loss(
    selector: SubsetSelector,
    logits: Float[Tensor, "B T K"],
    mask: Bool[Tensor, "B T K"],
    score: Callable[[Tensor], Tensor],
    *,
    price: float,
    multi_label: bool,
    noise: VideoNoise | None = None,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Compute a loss whose gradient trains the selector.

    The selector minimises the expected cost of the subset S that it draws:

        c(S) = d(S) + price |S|

    d(S) is the divergence of the prediction from S alone from the prediction from all tokens. The
    gradient is that of REINFORCE. The baseline of each subset is the mean cost of the other subsets
    of the same video:

        grad E[c] = E[(c(S) - baseline) grad log P(S)]

    The estimate has no bias. S is binary, and a token that is not kept is still drawn now and then
    (`EXPLORATION`), so it can come back.

    Args:
        selector: the selector.
        logits: its logits for the tokens of B videos.
        mask: True for real tokens.
        score: function that returns the action logits (n, B, C) for subsets (n, B, T, K).
        price: price of a token in nats.
        multi_label: see `divergence`.
        noise: noise of the videos. If None, it is drawn.

    Returns:
        A tuple of the loss and the mean number of drawn tokens per video.
    """
    by_frame = selector.by_frame
    subsets = draw_subsets(logits, mask, samples=SAMPLES, by_frame=by_frame, noise=noise)
    with torch.no_grad():
        loss = divergence(score(mask[None])[0], score(subsets), multi_label=multi_label)
        size = subsets.sum((2, 3)).to(loss)
        count = size
        if by_frame:
            count = subsets.any(3).sum(2).to(loss)
        cost = loss + price * count
        advantage = cost - (cost.sum(0, keepdim=True) - cost) / (SAMPLES - 1)
    chosen, real = subsets, mask
    if by_frame:  # one choice per frame
        logits, real = logits[..., 0], mask.any(2)
        chosen = subsets.any(3)
    p = keep_probability(logits)
    log_p = torch.where(chosen, p, 1 - p).log().masked_fill(~real, 0.0).flatten(2).sum(2)
    return (advantage * log_p).mean(), size.mean()
