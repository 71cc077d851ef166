"""Unpickler that reads only plain values and numeric arrays and runs no code."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric

from pipeline.errors import UsageError

MAX_BYTES = 8 * 2**30


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Encode text as latin-1. Replaces `_codecs.encode`; rejects other encodings."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin-1")


def _dtype(*args: Any, **kwargs: Any) -> np.dtype:
    """Create a dtype. Object dtypes are rejected, because object arrays could run code."""
    made: np.dtype = np.dtype(*args, **kwargs)
    if made.hasobject:
        raise pickle.UnpicklingError("numpy arrays of objects")
    return made


_PLAIN = {"set": set, "frozenset": frozenset, "bytearray": bytearray}
_NUMPY = {
    "ndarray": np.ndarray,
    "dtype": _dtype,
    "_reconstruct": multiarray._reconstruct,
    "scalar": multiarray.scalar,
    "_frombuffer": numeric._frombuffer,  # type: ignore[attr-defined]
}
_CORES = ("core.multiarray", "_core.multiarray", "core.numeric", "_core.numeric")
#: Module -> name -> object that replaces this name in a pickle.
_ALLOWED: dict[str, dict[str, Any]] = {
    "builtins": _PLAIN,
    "__builtin__": _PLAIN,
    "_codecs": {"encode": _encode},
    "numpy": _NUMPY,
    **{f"numpy.{core}": _NUMPY for core in _CORES},
}


class _Restricted(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module][name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name}") from None

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("persistent ids")


def load_restricted(path: Path) -> Any:
    """Read a pickle that contains only plain values and numeric arrays.

    Plain values are dicts, lists, tuples, sets, text and numbers. No code of the pickle runs.

    Args:
        path: path of the pickle.

    Returns:
        The unpickled value.

    Raises:
        UsageError: if the file is larger than `MAX_BYTES`, is damaged, or refers to any other class
            or function.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(f"{path}: at most {MAX_BYTES} bytes expected, got {size}")
    try:
        with open(path, "rb") as file:
            return _Restricted(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        if "truncated" in str(error) or "invalid load key" in str(error):
            raise UsageError(
                f"{path}: the pickle is damaged: {error}; download it again"
            ) from error
        raise UsageError(
            f"{path}: plain values and numeric arrays expected, got {error} (not run); "
            "download the original file of the release"
        ) from error
    except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}: the pickle is damaged: {error!r}; download it again") from error
    except (MemoryError, OverflowError, ImportError, RecursionError) as error:
        raise UsageError(f"{path}: cannot load the pickle: {error!r}; download it again") from error
