"""The state from which an interrupted training goes on: `state.pt` of its run folder."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically

STATE_FILE = "state.pt"
_DAMAGE = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    OSError,
    IndexError,
    AttributeError,
)


def save_state(
    run: Path, schema: str, fingerprint: str, tree: dict[str, Any], device: torch.device
) -> None:
    """Write the state of a training, and of the random generators of the CPU and the device.

    Args:
        run: folder.
        schema: of the tree.
        fingerprint: SHA-256 over everything that the training depends on.
        tree: tensors and plain values.
        device: of the training.
    """
    known: dict[str, Any] = {
        "schema": schema,
        "settings": fingerprint,
        "rng": torch.get_rng_state(),
    }
    known["cuda_rng"] = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    buffer = io.BytesIO()
    torch.save(known | tree, buffer)
    write_atomically(run / STATE_FILE, buffer.getvalue())


def restore_state(
    run: Path,
    schema: str,
    fingerprint: str,
    restore: Callable[[dict[str, Any]], None],
    device: torch.device,
) -> None:
    """Read a state and take it up.

    Args:
        run: folder.
        schema: expected.
        fingerprint: of this training.
        restore: takes the tree; whatever it raises of a wrong tree counts as damage.
        device: of this training.

    Raises:
        UsageError: if the state is damaged, or of another command, other settings or data.
    """
    path = run / STATE_FILE
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
        if tree["schema"] != schema:
            raise UsageError(
                f"--run: {path} is the state of another command or version ({schema} expected, "
                f"got {str(tree['schema'])[:80]}); give another --run"
            )
        if tree["settings"] != fingerprint:
            raise UsageError(
                f"--run: {run} was begun with other settings or other data; give the same, or "
                "another --run"
            )
        restore(tree)
        torch.set_rng_state(tree["rng"])
        if device.type == "cuda" and tree["cuda_rng"] is not None:
            torch.cuda.set_rng_state(tree["cuda_rng"], device)
    except _DAMAGE as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UsageError(
            f"{path}: a {schema} file expected: {first}; delete the folder and train again"
        ) from error
