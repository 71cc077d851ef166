"""Devices by name."""

import torch

from pipeline.errors import UsageError

#: Measured by `python -m tools.benchmark train`; see docs/training.md.
ONE_THREAD_WIDTH = 128


def pick_device(name: str) -> torch.device:
    """Return the device of a name; `auto` is CUDA where available, else the CPU.

    Raises:
        UsageError: if the name is none of `auto`, `cpu` and `cuda[:N]`, or CUDA is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise UsageError(f"device: auto, cpu or cuda[:N] expected, got {name!r}")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            f"device: {name} requested, but torch finds no CUDA device; use device=cpu"
        )
    return device


def pick_devices(names: str) -> list[torch.device]:
    """Devices of a comma-separated list; see `pick_device`."""
    return [pick_device(name.strip()) for name in names.split(",")]


def use_threads(wanted: int | None, width: int, device: torch.device) -> int:
    """Set the number of threads of torch.

    Args:
        wanted: `train.threads`. None takes one thread for a network of width up to
            `ONE_THREAD_WIDTH`, whose tensors are so small that handing them over costs more than
            the arithmetic, and otherwise leaves torch's number.
        width: D of the network.
        device: of the network; on a GPU torch's number stays unless `wanted` is given.

    Returns:
        The number of threads.
    """
    if wanted is None and width <= ONE_THREAD_WIDTH and device.type == "cpu":
        wanted = 1
    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()
