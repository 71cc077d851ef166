"""Run folder and resumable checkpoint `state.pt` of a training run."""

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
    """Create a run folder, or check that an existing folder belongs to this command.

    Args:
        run: run folder.
        is_known: function that returns whether a set of file names belongs to a run of this
            command.

    Raises:
        UsageError: if the folder is not writable, or `is_known` returns False for its file names.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
        sweep_temporary_files(run)
        names = {path.name for path in run.iterdir() if not is_temporary(path)}
    except OSError as error:
        raise UsageError(f"--run: a writable folder expected, {run}: {error.strerror}") from error
    if not is_known(names):
        raise UsageError(
            f"--run: an empty folder or a run folder of this command expected, got {run}"
        )


def save_state(run: Path, schema: str, fingerprint: str, tree: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        run: run folder.
        schema: name and version of the checkpoint format.
        fingerprint: SHA-256 over everything that determines the weights.
        tree: state of the training run, which consists of tensors and plain values.
    """
    buffer = io.BytesIO()
    torch.save({"schema": schema, "settings": fingerprint} | tree, buffer)
    write_atomically(run / STATE_FILE, buffer.getvalue())


def read_count(tree: dict[str, Any], name: str, most: int) -> int:
    """Return a count from a checkpoint.

    Raises:
        ValueError: if the value is not an int from 0 to `most`.
    """
    value = tree[name]
    if type(value) is not int or not 0 <= value <= most:
        raise ValueError(f"{name}: 0 to {most} expected, got {value!r}")
    return value


def restore_state(
    run: Path,
    schema: str,
    fingerprint: str,
    restore: Callable[[dict[str, Any]], None],
) -> None:
    """Restore a training run from a checkpoint.

    Args:
        run: run folder.
        schema: expected name and version of the checkpoint format.
        fingerprint: expected fingerprint of the training run.
        restore: function that restores the training run from the tree. If it raises an error, the
            checkpoint is regarded as damaged.

    Raises:
        UsageError: if the checkpoint is damaged, or belongs to another command, other settings or
            other data.
    """
    path = run / STATE_FILE
    try:
        tree = torch.load(path, map_location="cpu", weights_only=True)
        if tree["schema"] != schema:
            raise UsageError(
                f"--run: {path} is the checkpoint of another command or version ({schema} "
                f"expected, got {str(tree['schema'])[:80]}); use another --run"
            )
        if tree["settings"] != fingerprint:
            raise UsageError(
                f"--run: {run} contains a training run with other settings or other data; use the "
                "same settings and data, or another --run"
            )
        restore(tree)
    except _DAMAGE as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
        raise UsageError(
            f"{path}: a complete {schema} checkpoint expected, but the file is truncated, damaged "
            f"or of another run ({first}); delete the run folder and train again"
        ) from error
