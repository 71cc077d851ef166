"""Some rows of the arrays of a safetensors file, read without touching the rest.

safetensors checks the file when it is opened; the rows are then read straight into the tensors that
are returned. Its own slices copy each piece twice, which costs more than reading the disk's cache
(`python -m tools.benchmark cache`).
"""

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

_DTYPES = {
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "I64": torch.int64,
}


#: Arrays up to this size are read whole: one call costs less than one per span.
_SMALL_BYTES = 1 << 16


@dataclass(frozen=True)
class _Array:
    dtype: torch.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def row_bytes(self) -> int:
        return self.dtype.itemsize * math.prod(self.shape[1:])


class TensorRows:
    """The arrays of a file.

    Args:
        path: a safetensors file of float16, float32, float64 and int64 arrays.

    Attributes:
        metadata: of its header.
        names: of its arrays.

    Raises:
        OSError: if it cannot be read.
        SafetensorError: if it is no such file, or cut off.
        ValueError: for an array of another dtype.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with safe_open(path, framework="pt") as file:
            self.metadata: dict[str, str] = file.metadata() or {}
        with open(path, "rb") as file:
            size = int.from_bytes(file.read(8), "little")
            header: dict[str, Any] = json.loads(file.read(size))
        header.pop("__metadata__", None)
        self._arrays = {
            name: _Array(_dtype(name, row), tuple(row["shape"]), 8 + size + row["data_offsets"][0])
            for name, row in header.items()
        }
        self.names = tuple(self._arrays)

    def num_rows(self, name: str) -> int:
        """Rows of an array; KeyError if there is no such array."""
        shape = self._arrays[name].shape
        return shape[0] if shape else 0

    def read(self, wanted: dict[str, Sequence[tuple[int, int]] | None]) -> dict[str, Tensor]:
        """Load rows.

        Args:
            wanted: array -> spans [start, end) of its rows, in order; None for all rows.

        Returns:
            array -> those rows, one after another.

        Raises:
            KeyError: if there is no such array.
            OSError: if the file cannot be read.
            ValueError: if rows are missing.
        """
        descriptor = os.open(self._path, os.O_RDONLY)
        try:
            return {
                name: self._read_array(descriptor, name, spans) for name, spans in wanted.items()
            }
        finally:
            os.close(descriptor)

    def _read_array(
        self, descriptor: int, name: str, spans: Sequence[tuple[int, int]] | None
    ) -> Tensor:
        array = self._arrays[name]
        rows = array.shape[0] if array.shape else 0
        picked = [(0, rows)] if spans is None else spans
        if any(not 0 <= start <= end <= rows for start, end in picked):
            raise ValueError(f"{name}: spans of {rows} rows expected, got {picked}")
        count = sum(end - start for start, end in picked)
        if count < rows and rows * array.row_bytes <= _SMALL_BYTES:
            whole = self._read_array(descriptor, name, None).numpy()
            empty = whole[:0]
            return torch.from_numpy(np.concatenate([empty, *(whole[a:b] for a, b in picked)]))
        values = torch.empty(count, *array.shape[1:], dtype=array.dtype)
        if values.numel() == 0:
            return values
        view, filled = memoryview(values.numpy()).cast("B"), 0  # type: ignore[arg-type]
        for start, end in picked:
            size = (end - start) * array.row_bytes
            offset = array.offset + start * array.row_bytes
            _read_into(descriptor, view[filled : filled + size], offset, name)
            filled += size
        return values


def _read_into(descriptor: int, view: memoryview, offset: int, name: str) -> None:
    done = 0
    while done < len(view):
        count = os.preadv(descriptor, [view[done:]], offset + done)
        if count == 0:
            raise ValueError(f"{name}: {len(view)} bytes expected, the file ends before")
        done += count


def _dtype(name: str, row: dict[str, Any]) -> torch.dtype:
    if row["dtype"] not in _DTYPES:
        raise ValueError(f"{name}: one of {', '.join(_DTYPES)} expected, got {row['dtype']}")
    return _DTYPES[row["dtype"]]
