"""The optimiser and its schedule."""

import math

import torch
from torch import nn


def build_optimizer(model: nn.Module, lr: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW; matrices and kernels decay, vectors (biases, norms, tokens, positions) do not."""
    named = list(model.named_parameters())
    free = [value for name, value in named if value.ndim < 2 or name.endswith("position")]
    decayed = [value for name, value in named if value.ndim > 1 and not name.endswith("position")]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def learning_rate_factor(step: int, total: int, warmup: float) -> float:
    """Linear rise over the first `warmup` share of the steps, then half a cosine to zero.

    Args:
        step: 0-based, below `total`.
        total: steps of the whole training.
        warmup: share of them.

    Returns:
        A factor in (0, 1].
    """
    rise = math.ceil(warmup * total)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))
