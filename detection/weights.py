"""State dicts into a detector; strict, by name."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def load_state(
    detector: nn.Module, state: Mapping[str, Tensor], *, only_check: bool = False
) -> None:
    """Load every tensor, or none.

    `num_batches_tracked` may be absent, as in files of old torch versions. With `only_check`
    nothing is loaded; the detector may then be on the meta device.

    Raises:
        ValueError: names the first missing, unexpected, misshapen or non-finite tensor.
    """
    own = detector.state_dict()
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
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: finite numbers expected, got NaN or infinity")
    if not only_check:
        detector.load_state_dict(own | state)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
