"""Reader of checkpoints of other projects. Code that the checkpoints contain is not run."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.datasets.restricted_pickle import load_restricted
from pipeline.errors import UsageError
from pipeline.weights.torch_files import is_torch_file, load_torch

_NUMPY_TYPES = ("float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8")
_TYPES = (torch.bfloat16, *(getattr(torch, name) for name in _NUMPY_TYPES))
#: Keys under which training programs store a state dict. The first one in a file is used.
WRAPPERS = ("model", "state_dict", "model_state_dict", "model_state", "net", "network", "weights")
#: Prefixes that wrappers of a network add to all tensor names.
PREFIXES = ("module.", "model.", "net.", "network.", "_orig_mod.")


def read_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a model from a checkpoint without running code that it contains.

    The tensors may be nested in dicts under `WRAPPERS`. Everything beside them is ignored. A prefix
    of `PREFIXES` is removed if all names start with it.

    Args:
        path: path of a .pth, .tar or .pkl file.

    Returns:
        Tensors by name.

    Raises:
        UsageError: if the file is missing or damaged, contains no dict of tensors, refers to
            classes or functions that are not known to be harmless, or belongs to a model with RoI
            pooling other than RoIAlign or with class-agnostic box deltas.
    """
    if not path.is_file():
        raise UsageError(f"checkpoint: file not found: {path}")
    if path.suffix == ".safetensors":
        raise UsageError(
            f"checkpoint: a .pth, .tar or .pkl file expected, got the converted file {path}"
        )
    is_plain_pickle = path.suffix == ".pkl" and not is_torch_file(path)
    tree = load_restricted(path) if is_plain_pickle else load_torch(path)
    if isinstance(tree, dict):
        mode, agnostic = tree.get("pooling_mode", "align"), tree.get("class_agnostic", False)
        if mode != "align":
            raise UsageError(f"{path}: pooling_mode 'align' expected, got {mode!r}")
        if not isinstance(agnostic, bool | int) or agnostic:
            raise UsageError(f"{path}: box deltas per class expected, got class_agnostic")
    return _strip_prefixes(_tensors(_unwrap(tree), path))


def _unwrap(tree: Any) -> Any:
    """Return the state dict of a checkpoint, which is nested in up to four dicts."""
    for _ in range(4):
        if not isinstance(tree, dict):
            break
        inner = (tree[key] for key in WRAPPERS if isinstance(tree.get(key), dict))
        tree = next(inner, tree)
    return tree


def _tensors(model: Any, path: Path) -> dict[str, torch.Tensor]:
    tensors = {}
    for name, value in model.items() if isinstance(model, dict) else ():
        if isinstance(value, np.ndarray) and value.dtype.name in _NUMPY_TYPES:
            value = torch.from_numpy(np.array(value))
        if isinstance(name, str) and isinstance(value, torch.Tensor) and _is_plain(value):
            tensors[name] = value.contiguous()
    if not isinstance(model, dict) or not model or len(tensors) != len(model):
        others = [name for name in model if name not in tensors] if isinstance(model, dict) else []
        first = f"; {others[0]!r} is no tensor of a network" if others else ""
        raise UsageError(
            f"{path}: a dict of tensors, possibly under {', '.join(map(repr, WRAPPERS))}, "
            f"expected, got {type(model).__name__} with {len(tensors)} tensors{first}"
        )
    return tensors


def _strip_prefixes(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    for prefix in PREFIXES * 2:  # prefixes can be nested in any order, such as `model.module.`
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): value for name, value in tensors.items()}
    return tensors


def _is_plain(value: torch.Tensor) -> bool:
    """Return whether a tensor is dense, on the CPU, and has a dtype that networks use."""
    return value.layout == torch.strided and value.device.type == "cpu" and value.dtype in _TYPES
