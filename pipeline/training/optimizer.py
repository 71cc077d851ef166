"""Optimiser, learning rate schedule and step in mixed precision."""

import math
from enum import Enum
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.errors import StageError

Precision = Enum("Precision", {"none": "none", "bf16": "bf16", "fp16": "fp16"})


def autocast(precision: Precision, device: torch.device) -> torch.autocast:
    """Return the autocast context of a precision. `none` disables autocast."""
    dtype = torch.float16 if precision is Precision.fp16 else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision is not Precision.none)


def build_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Build a gradient scaler, which is enabled only for float16 on a GPU."""
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
    """Run one optimiser step on the sum of the loss terms.

    Args:
        model: network whose gradient is clipped.
        optimizer: optimiser of the network.
        scaler: gradient scaler from `build_scaler`.
        terms: mapping from name to weighted loss term.
        clip_norm: largest norm of the gradient.
        step: number of the step, used in the error message.
        advice: end of the error message.

    Returns:
        Log entry with `lr`, `loss`, `terms` and `grad_norm`.

    Raises:
        StageError: if the loss is not finite. The message names the step and ends with `advice`.
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
    """Build AdamW with weight decay on matrices and kernels.

    Weight decay is not applied to vectors (biases, norms, tokens) and position embeddings.

    Args:
        model: network to train.
        lr: learning rate. Each parameter group stores its factor of the learning rate as `scale`.
        weight_decay: weight decay of matrices and kernels.
        selector_lr: learning rate of the token selectors, relative to `lr`.
    """
    # Each kind is (is_selector, decays). Checkpoints depend on the order of the kinds.
    kinds = [(False, True), (False, False), (True, True), (True, False)]
    parts: dict[tuple[bool, bool], list[nn.Parameter]] = {kind: [] for kind in kinds}
    for name, value in model.named_parameters():
        is_selector = any(f".{part}." in name for part in ("subset", "temporal", "spatial"))
        parts[is_selector, value.ndim > 1 and not name.endswith("position")].append(value)
    groups = []
    for (is_selector, decays), values in parts.items():
        scale, decay = (selector_lr if is_selector else 1.0), (weight_decay if decays else 0.0)
        groups.append({"params": values, "weight_decay": decay, "lr": lr * scale, "scale": scale})
    return torch.optim.AdamW(groups, lr=lr)


def learning_rate_factor(step: int, total: int, warmup: float) -> float:
    """Return the factor of the learning rate at a step.

    The factor rises linearly during the warm-up. It then decreases to zero along half a cosine.

    Args:
        step: 0-based step, below `total`.
        total: number of steps of the whole training run.
        warmup: fraction of the steps that belong to the warm-up.

    Returns:
        Factor in (0, 1].
    """
    rise = math.ceil(warmup * total)
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(total - rise, 1)))
