"""Pickles of plain values and numeric arrays, and of nothing else."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy._core import multiarray, numeric

from pipeline.errors import UsageError

MAX_BYTES = 8 * 2**30


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What `_codecs.encode` does in pickles of bytes, for latin-1 alone."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"encoding {encoding!r}")
    return text.encode("latin-1")


def _dtype(*args: Any, **kwargs: Any) -> np.dtype:
    """A numeric dtype; one that holds objects could run code when filled."""
    made = np.dtype(*args, **kwargs)
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
#: Module -> name -> what a pickle gets that asks for it.
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
    """Read a pickle that holds dicts, lists, tuples, sets, text, numbers and numeric arrays.

    Raises:
        UsageError: names the file and what it asks for beyond those; nothing of it has run.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UsageError(f"{path}: at most {MAX_BYTES} bytes expected, got {size}")
    try:
        with open(path, "rb") as file:
            return _Restricted(file, encoding="latin1").load()
    except pickle.UnpicklingError as error:
        if "truncated" in str(error) or "invalid load key" in str(error):
            raise UsageError(f"{path}: a whole pickle expected: {error}; fetch it again") from error
        raise UsageError(
            f"{path}: plain values and numeric arrays expected, it asks for {error}; "
            "it was not run; fetch the release's own file"
        ) from error
    except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise UsageError(f"{path}: a whole pickle expected: {error!r}; fetch it again") from error
    except (MemoryError, OverflowError, ImportError, RecursionError) as error:
        raise UsageError(f"{path}: a pickle of annotations expected: {error!r}") from error
