"""Some rows of the arrays of a safetensors file, read without touching the rest.

The library maps a file to check its header and copies each slice twice: several times what reading
a clip from the system's cache costs (`python -m tools.benchmark cache`). So the header is checked
here, by the library's rules (`tests/pipeline/cache/test_tensor_rows.py` damages headers and asks
both), and rows are read straight into the tensors that are returned.
"""

import json
import math
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("float16"),
    "F32": np.dtype("float32"),
    "F64": np.dtype("float64"),
    "I64": np.dtype("int64"),
}
_MAX_HEADER_BYTES = 100_000_000
#: Read when a file is opened: its header, and the small arrays, which safetensors puts first.
_HEAD_BYTES = 1 << 16
#: Arrays up to this size are read whole: one call costs less than one per span.
_SMALL_BYTES = 1 << 16


class _Array(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    num_rows: int
    row_bytes: int
    num_bytes: int


class TensorRows:
    """The arrays of a file, which is held open as long as this lives.

    Args:
        path: a safetensors file of float16, float32, float64 and int64 arrays.

    Attributes:
        metadata: of its header.
        names: of its arrays.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is no such file, or cut off.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        #: Closes the file; what is not closed by hand is when nobody holds this any more.
        self.close = weakref.finalize(self, os.close, self._descriptor)
        try:
            self._read_header()
        except BaseException:
            self.close()  # an error that is kept keeps this as well, by its traceback
            raise

    def _read_header(self) -> None:
        self._head = _read_head(self._descriptor)
        start = 8 + int.from_bytes(self._head[:8], "little")
        header = json.loads(self._head[8:start])
        self.metadata: dict[str, str]
        self.metadata, self._arrays, end = _arrays(header, start)
        size = os.fstat(self._descriptor).st_size
        if size != end:
            raise ValueError(f"{end} bytes expected, the file has {size}")
        self.names = tuple(self._arrays)

    def num_rows(self, name: str) -> int:
        """Rows of an array; KeyError if there is no such array."""
        return self._arrays[name].num_rows

    def whole(self, name: str) -> np.ndarray:
        """A whole array, not to be written to; raises as `read`."""
        array = self._arrays[name]
        if array.offset + array.num_bytes > len(self._head):
            return _read_spans(self._descriptor, name, array, [(0, array.num_rows)])
        count = array.num_bytes // array.dtype.itemsize
        return np.frombuffer(self._head, array.dtype, count, array.offset).reshape(array.shape)

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
        return {name: torch.from_numpy(self._read_array(name, s)) for name, s in wanted.items()}

    def _read_array(self, name: str, spans: Sequence[tuple[int, int]] | None) -> np.ndarray:
        array = self._arrays[name]
        rows = array.num_rows
        picked = [(0, rows)] if spans is None else spans
        for start, end in picked:
            if not 0 <= start <= end <= rows:
                raise ValueError(f"{name}: spans of {rows} rows expected, got {picked}")
        if array.num_bytes > _SMALL_BYTES:
            return _read_spans(self._descriptor, name, array, picked)
        whole = self.whole(name)
        return np.concatenate([whole[:0], *(whole[start:end] for start, end in picked)])


def _read_spans(
    descriptor: int, name: str, array: _Array, spans: Sequence[tuple[int, int]]
) -> np.ndarray:
    # numpy asks for huge pages, torch does not: fresh memory is touched faster.
    count = sum(end - start for start, end in spans)
    values = np.empty((count, *array.shape[1:]), array.dtype)
    if values.size == 0:
        return values
    view, filled = memoryview(values).cast("B"), 0  # type: ignore[arg-type]
    for start, end in spans:
        size = (end - start) * array.row_bytes
        offset = array.offset + start * array.row_bytes
        _read_into(descriptor, view[filled : filled + size], offset, name)
        filled += size
    return values


def _read_into(descriptor: int, view: memoryview, offset: int, name: str) -> None:
    size, done = len(view), 0
    while done < size:
        count = os.preadv(descriptor, [view[done:] if done else view], offset + done)
        if count == 0:
            raise ValueError(f"{name}: {size} bytes expected, the file ends before")
        done += count


def _read_head(descriptor: int) -> bytes:
    """The length of the header, the header, and what follows within `_HEAD_BYTES`."""
    head = os.pread(descriptor, _HEAD_BYTES, 0)
    size = int.from_bytes(head[:8], "little")
    if len(head) < 8 or size > _MAX_HEADER_BYTES:
        raise ValueError(f"a safetensors header expected, got {head[:8]!r} at the start")
    while len(head) < 8 + size:
        more = os.pread(descriptor, 8 + size - len(head), len(head))
        if not more:
            raise ValueError(f"a header of {size} bytes expected, the file ends before")
        head += more
    return head


def _arrays(header: Any, start: int) -> tuple[dict[str, str], dict[str, _Array], int]:
    """Metadata, arrays by rising offset and without gaps, and where the last one ends."""
    if not isinstance(header, dict):
        raise ValueError(f"a safetensors header expected, got {type(header).__name__}")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__: an object of texts expected")
    rows = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    arrays, at = {}, 0
    for name, row in rows:
        shape, kind = row["shape"], row["dtype"]
        if kind not in _DTYPES:
            raise ValueError(f"{name}: one of {', '.join(_DTYPES)} expected, got {kind}")
        for size in shape:
            if type(size) is not int or size < 0:
                raise ValueError(f"{name}: a shape of whole numbers expected, got {shape}")
        dtype, num_rows = _DTYPES[kind], shape[0] if shape else 0
        row_bytes = dtype.itemsize * math.prod(shape[1:])
        num_bytes = num_rows * row_bytes
        array = _Array(dtype, tuple(shape), start + at, num_rows, row_bytes, num_bytes)
        end = at + (num_bytes if shape else dtype.itemsize)
        if row["data_offsets"] != [at, end]:
            found = row["data_offsets"]
            raise ValueError(f"{name}: data_offsets [{at}, {end}] expected, got {found}")
        arrays[name], at = array, end
    return metadata, arrays, start + at
