"""The optimiser, its schedule and its step in mixed precision."""

import math
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StageError

Precision = Enum("Precision", {"none": "none", "bf16": "bf16", "fp16": "fp16"})


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Context that computes in the precision asked for."""
    dtype = torch.float16 if precision is Precision.fp16 else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision is not Precision.none)


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Keeps small gradients of float16 above zero; idle in other precisions and on a CPU."""
    is_needed = precision is Precision.fp16 and device.type == "cuda"
    return torch.amp.GradScaler(device.type, enabled=is_needed)


def descend(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    terms: dict[str, Tensor],
    clip_norm: float,
    *,
    step: int,
    advice: str,
) -> dict[str, Any]:
    """One step down the sum of the terms, with a gradient of norm `clip_norm` at most.

    Returns:
        For the log: lr, loss, each term, gradient norm.

    Raises:
        StageError: if the loss is not finite; names the step and ends with the advice.
    """
    loss = torch.stack(list(terms.values())).sum()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise StageError(f"step {step}: a finite loss expected, got {value}{advice}")
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(loss).backward()
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return {
        "lr": optimizer.param_groups[0]["lr"],
        "loss": value,
        "terms": {name: float(term.detach()) for name, term in terms.items()},
        "grad_norm": float(norm),
    }


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
    # (of a selector, decays): their order is that of stored states.
    kinds = [(False, True), (False, False), (True, True), (True, False)]
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {kind: [] for kind in kinds}
    for name, value in model.named_parameters():
        is_selector = ".temporal." in name or ".spatial." in name
        parts[is_selector, value.ndim > 1 and not name.endswith("position")].append(value)
    groups = []
    for (is_selector, decays), values in parts.items():
        scale, decay = (selector_lr if is_selector else 1.0), (weight_decay if decays else 0.0)
        groups.append({"params": values, "weight_decay": decay, "lr": lr * scale, "scale": scale})
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
