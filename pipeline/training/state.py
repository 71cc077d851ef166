"""The state from which an interrupted training goes on: `state.pt` of its run folder."""

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UsageError
from pipeline.runtime.files import write_atomically
from pipeline.runtime.writers import is_temporary, sweep_temporary_files

STATE_FILE = "state.pt"
_OF_PYTHON = (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError)
_DAMAGE = (pickle.UnpicklingError, *_OF_PYTHON)


def open_run_folder(run: Path, is_known: Callable[[set[str]], bool]) -> None:
    """Create a run folder, or continue in an existing one.

    Raises:
        UsageError: if `is_known` does not take the names of its files for the command's own, or
            it is not writable.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        sweep_temporary_files(run)
        names = {path.name for path in run.iterdir() if not is_temporary(path)}
    except OSError as error:
        raise UsageError(f"--run: a writable folder expected, {run}: {error.strerror}") from error
    if not is_known(names):
        raise UsageError(f"--run: an empty folder or one of this command expected, got {run}")


def save_state(
    run: Path, schema: str, fingerprint: str, tree: dict[str, Any], device: torch.device
) -> None:
    """Write the state of a training, and of the random generators of the CPU and the device.

    The fingerprint is a SHA-256 over everything that the training depends on, the tree holds
    tensors and plain values.
    """
    known = {
        "schema": schema,
        "settings": fingerprint,
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
    buffer = io.BytesIO()
    torch.save(known | tree, buffer)
    write_atomically(run / STATE_FILE, buffer.getvalue())


def read_count(tree: dict[str, Any], name: str, most: int) -> int:
    """Return a count that a checkpoint holds; ValueError unless it is an int from 0 to `most`."""
    value = tree[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name}: 0 to {most} expected, got {value!r}")
    return value


def restore_state(
    run: Path,
    schema: str,
    fingerprint: str,
    restore: Callable[[dict[str, Any]], None],
    device: torch.device,
) -> None:
    """Read a state and take it up; whatever `restore` raises of a tree counts as damage.

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
