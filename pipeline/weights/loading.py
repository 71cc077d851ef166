"""Weights into networks."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], *, only_check: bool = False
) -> None:
    """Load weights by name; if one does not fit, the network does not change.

    Args:
        network: receives the weights.
        state: tensors by name; `num_batches_tracked` may be absent.
        only_check: load nothing; the network can be on the meta device then.

    Raises:
        ValueError: names the first tensor that is missing or unexpected, has another shape or
            type, is not finite in float32, or is a variance below zero.
    """
    own = network.state_dict()
    needed = {name for name in own if not _is_counter(name)}
    for what, names in (
        ("missing", needed - state.keys()),
        ("unexpected", state.keys() - own.keys()),
    ):
        if names:
            raise ValueError(
                f"state dict: {len(needed)} tensors expected, got {len(state)}; "
                f"{len(names)} {what}, the first is {min(names)!r}"
            )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{name}: shape {tuple(own[name].shape)} expected, got {tuple(value.shape)}; the "
                "weights are of a network of another size or with other classes"
            )
        if _is_counter(name):
            if value.dtype != own[name].dtype:
                raise ValueError(f"{name}: {own[name].dtype} expected, got {value.dtype}")
            continue
        if not value.dtype.is_floating_point:
            raise ValueError(f"{name}: floating point numbers expected, got {value.dtype}")
        if not bool(torch.isfinite(value.float()).all()):
            raise ValueError(f"{name}: finite numbers of float32 expected, got NaN or infinity")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"{name}: variances from 0 on expected, got {float(value.min())}")
    if not only_check:
        network.load_state_dict(own | dict(state))


def build_with_weights(build: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """Build a network and load its weights.

    The network is built on the meta device first, so that weights of another size than a damaged
    card names are refused before memory is allocated.

    Args:
        build: makes the network on the default device.
        state: see `load_state`.

    Raises:
        ValueError: see `load_state`.
    """
    with torch.device("meta"):
        load_state(build(), state, only_check=True)
    network = build()
    load_state(network, state)
    return network


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
