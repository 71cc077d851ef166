"""The optimiser and its schedule."""

import math

import torch
from torch import nn


def build_optimizer(
    model: nn.Module, lr: float, weight_decay: float, *, selector_lr: float = 1.0
) -> torch.optim.AdamW:
    """AdamW; matrices and kernels decay, vectors (biases, norms, tokens, positions) do not.

    Args:
        model: its parameters.
        lr: learning rate; each group keeps its share of it as `scale`.
        weight_decay: of those that decay.
        selector_lr: learning rate of the token selectors, relative to `lr`.
    """
    groups = []
    for is_selector in (False, True):
        named = [
            (name, value)
            for name, value in model.named_parameters()
            if is_selector == (".temporal." in name or ".spatial." in name)
        ]
        scale = selector_lr if is_selector else 1.0
        for decays in (True, False):
            values = [
                value
                for name, value in named
                if decays == (value.ndim > 1 and not name.endswith("position"))
            ]
            decay = weight_decay if decays else 0.0
            groups.append(
                {"params": values, "weight_decay": decay, "lr": lr * scale, "scale": scale}
            )
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
