"""Reader of checkpoints of other projects. Code that the checkpoints contain is not run."""

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.datasets.restricted_pickle import load_restricted
from pipeline.errors import UsageError

_NUMPY_TYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
_TYPES = (torch.bfloat16, *(getattr(torch, name) for name in _NUMPY_TYPES))


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a model from a checkpoint without running code that it contains.

    Args:
        path: path of a .pth, .tar or .pkl file.

    Returns:
        Tensors by name.

    Raises:
        UsageError: if the file is missing or damaged, contains objects other than tensors and
            plain values, or belongs to a model with RoI pooling other than RoIAlign or with
            class-agnostic box deltas.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint: file not found: {path}")
    if path.suffix == ".safetensors":
        raise UsageError(
            f"checkpoint: a .pth, .tar or .pkl file expected, got the converted file {path}"
        )
    tree = load_restricted(path) if path.suffix == ".pkl" else _load_torch(path)
    if isinstance(tree, dict):
        mode, agnostic = tree.get("pooling_mode", "align"), tree.get("class_agnostic", False)
        if mode != "align":
            raise UsageError(f"{path}: pooling_mode 'align' expected, got {mode!r}")
        if not isinstance(agnostic, bool | int) or agnostic:
            raise UsageError(f"{path}: box deltas per class expected, got class_agnostic")
    model = tree.get("model", tree.get("state_dict", tree)) if isinstance(tree, dict) else None
    tensors = {}
    for name, value in model.items() if isinstance(model, dict) else ():
        if isinstance(value, np.ndarray) and value.dtype.name in _NUMPY_TYPES:
            value = torch.from_numpy(np.array(value))
        if isinstance(name, str) and isinstance(value, torch.Tensor) and _is_plain(value):
            tensors[name] = value.contiguous()
    if not isinstance(model, dict) or not model or len(tensors) != len(model):
        raise UsageError(
            f"{path}: a dict of tensors, possibly under 'model' or 'state_dict', expected, got "
            f"{type(tree).__name__} with {len(tensors)} tensors"
        )
    return tensors


def _is_plain(value: torch.Tensor) -> bool:
    """Return whether a tensor is dense, on the CPU, and has a dtype that networks use."""
    return value.layout == torch.strided and value.device.type == "cpu" and value.dtype in _TYPES


def _load_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pickle protocols, which raise an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        why = (
            f"the file refers to {asked[1]}, which was not run"
            if asked
            else "the file is damaged or not written by torch.save. Download it again"
        )
        raise UsageError(f"{path}: a checkpoint of plain tensors expected, but {why}") from error
