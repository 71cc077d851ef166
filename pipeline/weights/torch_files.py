"""Readers of files written by torch or pickle that run no code of the files."""

import io
import pickle
import re
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UsageError

MAX_BYTES = 2**31
#: First bytes of a file in the format of torch before version 1.6.
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


class _Ignored:
    """Replacement of an object that is stored beside the weights. Its content is not read."""

    def __new__(cls, *_args: Any) -> "_Ignored":
        return object.__new__(cls)

    def __setstate__(self, _state: Any) -> None:
        pass


def _new_dict(*_args: Any) -> "OrderedDict[Any, Any]":
    return OrderedDict()


#: Names in a checkpoint besides tensors and plain values -> object that replaces each of them.
_BESIDE: dict[str, Callable[..., Any]] = {
    "argparse.Namespace": _Ignored,
    "types.SimpleNamespace": _Ignored,
    "pathlib.PosixPath": _Ignored,
    "pathlib.WindowsPath": _Ignored,
    "pathlib._local.PosixPath": _Ignored,
    "pathlib._local.WindowsPath": _Ignored,
    "numpy.dtype": _Ignored,
    "numpy.ndarray": _Ignored,
    "numpy.core.multiarray.scalar": _Ignored,
    "numpy._core.multiarray.scalar": _Ignored,
    "numpy.core.multiarray._reconstruct": _Ignored,
    "numpy._core.multiarray._reconstruct": _Ignored,
    "builtins.list": _Ignored,
    "builtins.dict": _Ignored,
    "builtins.int": _Ignored,
    "builtins.float": _Ignored,
    "collections.defaultdict": _new_dict,
    "easydict.EasyDict": OrderedDict,
    "yacs.config.CfgNode": OrderedDict,
}


def is_torch_file(path: Path) -> bool:
    """Return whether a file was written by `torch.save`, by its content."""
    with open(path, "rb") as file:
        return file.read(len(_LEGACY)) == _LEGACY or zipfile.is_zipfile(path)


def load_torch(path: Path) -> Any:
    """Read a file written by `torch.save`.

    Only tensors and plain values are read. An `argparse.Namespace`, paths, numpy scalars and arrays
    are replaced by empty objects, and the dicts of EasyDict and yacs by plain dicts.

    Args:
        path: path of the file.

    Returns:
        The stored value, with tensors on the CPU.

    Raises:
        UsageError: if the file is damaged, a TorchScript archive, or refers to any other class or
            function.
    """
    allowed: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
        (made, name) for name, made in _BESIDE.items()
    ]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed):
            warnings.simplefilter("ignore")  # pickle protocols, which raise an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for damaged files
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        if asked:
            why = f"the file refers to {asked[1]}, which was not run; save model.state_dict() only"
        elif "TorchScript" in str(error):
            why = "the file is a TorchScript archive; save model.state_dict() instead"
        else:
            why = "the file is damaged or not written by torch.save. Download it again"
        raise UsageError(f"{path}: a checkpoint of plain tensors expected, but {why}") from error


def load_tensor_pickle(path: Path) -> Any:
    """Read a file that `torch.save` or `pickle.dump` has written, of tensors and plain values.

    Args:
        path: path of the file.

    Returns:
        The stored value, with tensors on the CPU.

    Raises:
        UsageError: if the file is larger than `MAX_BYTES`, is damaged, or refers to any class or
            function that is not part of a tensor.
    """
    if path.stat().st_size > MAX_BYTES:
        raise UsageError(f"{path}: at most {MAX_BYTES} bytes expected, got {path.stat().st_size}")
    if is_torch_file(path):
        return load_torch(path)
    try:
        with open(path, "rb") as file:
            return _TensorUnpickler(file).load()
    except _ForeignNameError as error:
        raise UsageError(
            f"{path}: a pickle of tensors expected, but it refers to {error}, which was not run"
        ) from error
    except Exception as error:  # pickle and torch raise many types for damaged files
        raise UsageError(
            f"{path}: a pickle of tensors expected, but the file is damaged: {error!r}"
        ) from error


class _ForeignNameError(Exception):
    """A pickle refers to a class or function that is not part of a tensor."""


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin-1")


def _storage(data: bytes) -> torch.TypedStorage:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    if not isinstance(found, torch.TypedStorage):
        raise pickle.UnpicklingError(f"storage expected, got {type(found).__name__}")
    return found


def _tensor(
    storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any
) -> torch.Tensor:
    if not isinstance(storage, torch.TypedStorage):
        raise pickle.UnpicklingError("tensor without storage")
    made = torch.empty(0, dtype=storage.dtype)
    return made.set_(storage, offset, size, stride)


class _TensorUnpickler(pickle.Unpickler):
    """Unpickler that knows only the names in the pickle of a tensor."""

    _NAMES: dict[str, Callable[..., Any]] = {  # noqa: RUF012
        "torch._utils._rebuild_tensor_v2": _tensor,
        "torch.storage._load_from_bytes": _storage,
        "collections.OrderedDict": _new_dict,
        "_codecs.encode": _encode,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._NAMES[f"{module}.{name}"]
        except KeyError:
            raise _ForeignNameError(f"{module}.{name}") from None
