"""Other people's checkpoints, read without running any code of them."""

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.annotations.restricted_pickle import load_restricted
from pipeline.errors import UsageError


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """The model's tensors in a checkpoint, read without running any code of it.

    Raises:
        UsageError: if the file is missing, truncated, or holds other than tensors and plain values.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint: a file expected, {path} is none")
    tree = load_restricted(path) if path.suffix == ".pkl" else _load_torch(path)
    if isinstance(tree, dict) and tree.get("pooling_mode", "align") != "align":
        raise UsageError(f"{path}: pooling_mode 'align' expected, got {tree['pooling_mode']!r}")
    if isinstance(tree, dict) and tree.get("class_agnostic"):
        raise UsageError(f"{path}: box deltas per class expected, got class_agnostic")
    model = tree.get("model", tree.get("state_dict", tree)) if isinstance(tree, dict) else None
    tensors = {}
    for name, value in model.items() if isinstance(model, dict) else ():
        if isinstance(value, np.ndarray) and value.dtype.kind in "fiu":
            value = torch.from_numpy(np.array(value))
        if isinstance(name, str) and isinstance(value, torch.Tensor):
            tensors[name] = value
    if not isinstance(model, dict) or not model or len(tensors) != len(model):
        raise UsageError(
            f"{path}: a dict of tensors, or one under 'model' or 'state_dict', expected; got "
            f"{type(tree).__name__} with {len(tensors)} tensors"
        )
    return tensors


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of pickles of other protocols; they are refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(f"{path}: a checkpoint of plain tensors expected: {first}") from error
