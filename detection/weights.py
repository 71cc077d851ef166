"""State dicts into a network; strict, by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], *, only_check: bool = False
) -> None:
    """Load every tensor, or none.

    `num_batches_tracked` may be absent, as in files of old torch versions. With `only_check`
    nothing is loaded; the network may then be on the meta device.

    Raises:
        ValueError: names the first tensor that is missing, unexpected, misshapen, of other than
            floating point numbers, not finite in float32, or a variance below zero.
    """
    own = network.state_dict()
    state = {name: value for name, value in state.items() if not _is_counter(name)}
    wanted = {name: value for name, value in own.items() if not _is_counter(name)}
    for what, names in (
        ("missing", wanted.keys() - state.keys()),
        ("unexpected", state.keys() - wanted.keys()),
    ):
        if names:
            raise ValueError(
                f"state dict: {len(wanted)} tensors expected, got {len(state)}; "
                f"{len(names)} {what}, the first is {min(names)!r}"
            )
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{name}: shape {tuple(wanted[name].shape)} expected, got {tuple(value.shape)}; "
                "is it another number of classes, depth or width?"
            )
        if not value.dtype.is_floating_point:
            raise ValueError(f"{name}: floating point numbers expected, got {value.dtype}")
        if not bool(torch.isfinite(value.float()).all()):
            raise ValueError(f"{name}: finite numbers of float32 expected, got NaN or infinity")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"{name}: variances from 0 on expected, got {float(value.min())}")
    if not only_check:
        network.load_state_dict(own | state)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
