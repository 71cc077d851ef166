"""Selector of the preset `strict`, which learns the subset of tokens that a prediction rests on."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from model.losses import bernoulli_divergence, softmax_divergence
from model.tokens import TokenGrid
from model.transitions import next_kept, previous_kept

#: Subsets that are drawn per video and step.
SAMPLES = 4
#: Least probability of each choice while subsets are drawn. A token is thus never lost for good.
EXPLORATION = 0.02
#: Initial probability of keeping a token.
INITIAL_KEEP = 0.75


@dataclass(frozen=True)
class SelectionTask:
    """What a selector learns: to keep the tokens that are worth their price.

    Attributes:
        price: price of a token in nats, see `selection_loss`.
        multi_label: see `CriterionSettings`.
    """

    price: float
    multi_label: bool = True


class SubsetSelector(nn.Module):
    """Keeps a token if the logit z of keeping it is above 0, in training and at test.

        z_i = MLP([y_i, y_i - y_p, y_n - y_i, 1_p, 1_n]),    y = LN(x)

    x_i is the token before transitions and positions. p and n are the previous and the next token
    of its track, and 1_p and 1_n are 0 if there is none. The differences tell the tokens at which a
    relation changes from those that repeat it.

    `selection_loss` trains the logits by the policy gradient. In training, the choice is binary and
    has no gradient of its own.

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
        z = self.mlp(torch.cat([*parts, *flags], -1)).view(B, T, K).float()
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
    logits: Float[Tensor, "B T K"], mask: Bool[Tensor, "B T K"], *, samples: int, by_frame: bool
) -> Bool[Tensor, "n B T K"]:
    """Draw subsets of tokens from their keep probabilities, which `EXPLORATION` bounds.

    Args:
        logits: logits of keeping the tokens.
        mask: True for real tokens.
        samples: number of subsets per video, n.
        by_frame: if True, one draw decides on all tokens of a frame.
    """
    p = keep_probability(logits.detach())
    size = (samples, *logits.shape[:2], 1) if by_frame else (samples, *logits.shape)
    return (torch.rand(size, device=logits.device) < p) & mask


def selection_loss(
    selector: SubsetSelector,
    logits: Float[Tensor, "B T K"],
    mask: Bool[Tensor, "B T K"],
    score: Callable[[Tensor], Tensor],
    task: SelectionTask,
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
        task: what the selector learns.

    Returns:
        A tuple of the loss and the mean number of drawn tokens per video.
    """
    by_frame = selector.by_frame
    subsets = draw_subsets(logits, mask, samples=SAMPLES, by_frame=by_frame)
    with torch.no_grad():
        loss = divergence(score(mask[None])[0], score(subsets), multi_label=task.multi_label)
        size = subsets.sum((2, 3)).to(loss)
        count = size
        if by_frame:
            count = subsets.any(3).sum(2).to(loss)
        cost = loss + task.price * count
        advantage = cost - (cost.sum(0, keepdim=True) - cost) / (SAMPLES - 1)
    chosen, real = subsets, mask
    if by_frame:  # one choice per frame
        logits, real = logits[..., 0], mask.any(2)
        chosen = subsets.any(3)
    p = keep_probability(logits)
    log_p = torch.where(chosen, p, 1 - p).log().masked_fill(~real, 0.0).flatten(2).sum(2)
    return (advantage * log_p).mean(), size.mean()
