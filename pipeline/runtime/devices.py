"""Selection of torch devices and the number of CPU threads."""

import torch

from pipeline.errors import UsageError

#: Largest network width for which one CPU thread is the default. Measured with
#: `python -m tools.benchmark train`; see docs/training.md.
ONE_THREAD_WIDTH = 128


def pick_device(name: str) -> torch.device:
    """Return the torch device of a name.

    Args:
        name: `cpu`, `cuda`, `cuda:N`, or `auto` for CUDA if available and the CPU otherwise.

    Raises:
        UsageError: if the name is invalid, or CUDA is not available.
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
    """Return the devices of a comma-separated list of names; see `pick_device`."""
    return [pick_device(name.strip()) for name in names.split(",")]


def use_threads(wanted: int | None, width: int, device: torch.device) -> int:
    """Set the number of CPU threads that torch uses.

    Args:
        wanted: value of `train.threads`. If None, networks of width up to `ONE_THREAD_WIDTH` on a
            CPU use one thread, because their tensors are so small that distributing the work takes
            longer than the arithmetic. Other networks use torch's default number of threads.
        width: width D of the network.
        device: device of the network.

    Returns:
        The number of threads in use.
    """
    if wanted is None and width <= ONE_THREAD_WIDTH and device.type == "cpu":
        wanted = 1
    if wanted is not None:
        torch.set_num_threads(wanted)
    return torch.get_num_threads()
