"""Optimiser, learning rate schedule and mixed precision."""

import math

import torch
from torch import nn

from pipeline.config.schema import Amp


def autocast(amp: Amp, device: torch.device) -> torch.autocast:
    """Return the autocast context of a precision. `none` disables autocast."""
    is_bf16 = amp is Amp.bf16
    if amp is Amp.auto:
        is_bf16 = device.type == "cuda" and torch.cuda.is_bf16_supported()
    dtype = torch.float16 if amp is Amp.fp16 else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=is_bf16 or amp is Amp.fp16)


def build_scaler(amp: Amp, device: torch.device) -> torch.amp.GradScaler:
    """Build a gradient scaler, which is enabled only for float16 on a GPU."""
    return torch.amp.GradScaler(device.type, enabled=amp is Amp.fp16 and device.type == "cuda")


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
    return torch.optim.AdamW(groups, lr=lr, fused=True)


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
