"""Loading of weights into networks."""

import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)
#: Lock for the construction of networks, which uses the global random generators.
BUILDING = threading.Lock()


def load_state(
    network: nn.Module, state: Mapping[str, Tensor], *, only_check: bool = False
) -> None:
    """Load weights into a network by name.

    If a tensor does not fit, no tensor is loaded.

    Args:
        network: network that receives the weights.
        state: tensors by name. `num_batches_tracked` may be absent.
        only_check: if True, the weights are checked but not loaded. In this case, the network may
            be on the meta device.

    Raises:
        ValueError: if a tensor is missing or unexpected, has a wrong shape or type, is not finite
            in float32, or is a variance with negative values. The message contains the name of the
            first such tensor.
    """
    own = network.state_dict()
    needed = {name for name in own if not _is_counter(name)}
    num_given = sum(not _is_counter(name) for name in state)
    for what, names in (
        ("missing", needed - state.keys()),
        ("unexpected", state.keys() - own.keys()),
    ):
        if names:
            raise ValueError(
                f"state dict: {len(needed)} tensors expected, got {num_given}; "
                f"{len(names)} {what}, the first is {min(names)!r}"
            )
    for name, value in state.items():
        if value.shape != own[name].shape:
            raise ValueError(
                f"{name}: shape {tuple(own[name].shape)} expected, got {tuple(value.shape)}; the "
                "weights belong to a network of another size or with other classes"
            )
        if not own[name].dtype.is_floating_point:
            if value.dtype != own[name].dtype:
                raise ValueError(f"{name}: {own[name].dtype} expected, got {value.dtype}")
            continue
        if not value.dtype.is_floating_point:
            raise ValueError(f"{name}: floating point numbers expected, got {value.dtype}")
        if not bool(torch.isfinite(value.float()).all()):
            raise ValueError(f"{name}: finite numbers of float32 expected, got NaN or infinity")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise ValueError(f"{name}: variances of at least 0 expected, got {float(value.min())}")
    if not only_check:
        network.load_state_dict(own | dict(state))


def build_with_weights(build: Callable[[], Network], state: Mapping[str, Tensor]) -> Network:
    """Build a network and load its weights.

    The weights are first checked against a network on the meta device. Wrong sizes in a damaged
    card therefore do not cause large memory allocations.

    Args:
        build: function that builds the network on the default device.
        state: tensors by name, see `load_state`.

    Raises:
        ValueError: if the weights do not fit, see `load_state`.
    """
    with torch.device("meta"):
        load_state(build(), state, only_check=True)
    network = build()
    load_state(network, state)
    return network


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
