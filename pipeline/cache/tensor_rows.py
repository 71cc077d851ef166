"""Reader of single rows of the arrays in a safetensors file.

The safetensors library memory-maps the file to check its header, and copies each slice twice. These
operations take several times as long as reading a clip from the page cache. This module checks the
header by the same rules and reads rows directly into the returned tensors.
`python -m tools.benchmark cache` compares the speed of this module with a plain read.
`tests/pipeline/cache/test_tensor_rows.py` compares its checks with the checks of the library on
damaged headers.
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
#: Number of bytes read when a file is opened. These bytes usually contain the header and the small
#: arrays, which safetensors stores first.
_HEAD_BYTES = 1 << 16
#: Maximum size in bytes of arrays that are read whole. One call is faster than one call per span.
_SMALL_BYTES = 1 << 16


class _Array(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int
    num_rows: int
    row_bytes: int
    num_bytes: int


class TensorRows:
    """Arrays of a safetensors file.

    The file stays open until `close` is called or the object is garbage-collected.

    Args:
        path: path of a safetensors file with float16, float32, float64 and int64 arrays.

    Attributes:
        metadata: metadata in the header.
        names: names of the arrays.
        close: function that closes the file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is truncated, or is not a safetensors file with these dtypes.
        TypeError, KeyError, RecursionError: possible for some malformed headers.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        #: Closes the file when it is called or the object is garbage-collected.
        self.close = weakref.finalize(self, os.close, self._descriptor)
        try:
            self._read_header()
        except BaseException:
            self.close()  # the traceback of a stored error would keep the file open
            raise

    def _read_header(self) -> None:
        self._head = _read_head(self._descriptor)
        start = 8 + int.from_bytes(self._head[:8], "little")
        header = json.loads(self._head[8:start])
        self.metadata: dict[str, str]
        self.metadata, self._arrays, end = _arrays(header, start)
        size = os.fstat(self._descriptor).st_size
        if size != end:
            raise ValueError(f"{end} bytes expected, got {size}")
        self.names = tuple(self._arrays)

    def num_rows(self, name: str) -> int:
        """Return the number of rows of an array, which is 0 for a scalar.

        Raises:
            KeyError: if the file has no such array.
        """
        return self._arrays[name].num_rows

    def whole(self, name: str) -> np.ndarray:
        """Return a whole array, which may be read-only.

        Raises:
            KeyError: if the file has no such array.
            OSError: if the file cannot be read.
            ValueError: if the file is truncated.
        """
        array = self._arrays[name]
        if array.offset + array.num_bytes > len(self._head):
            return _read_spans(self._descriptor, name, array, [(0, array.num_rows)])
        count = array.num_bytes // array.dtype.itemsize
        return np.frombuffer(self._head, array.dtype, count, array.offset).reshape(array.shape)

    def read(self, wanted: dict[str, Sequence[tuple[int, int]] | None]) -> dict[str, Tensor]:
        """Load rows of arrays.

        Args:
            wanted: maps names of arrays to spans [start, end) of rows, or to None for all rows.

        Returns:
            A dict that maps each name to the rows of its spans, concatenated in the order of the
            spans.

        Raises:
            KeyError: if the file has no such array.
            OSError: if the file cannot be read.
            ValueError: if a span is out of range, or the file is truncated.
        """
        return {name: torch.from_numpy(self._read_array(name, s)) for name, s in wanted.items()}

    def _read_array(self, name: str, spans: Sequence[tuple[int, int]] | None) -> np.ndarray:
        array = self._arrays[name]
        rows = array.num_rows
        picked = [(0, rows)] if spans is None else spans
        for start, end in picked:
            if not 0 <= start <= end <= rows:
                raise ValueError(f"{name}: row spans within [0, {rows}] expected, got {picked}")
        if array.num_bytes > _SMALL_BYTES:
            return _read_spans(self._descriptor, name, array, picked)
        whole = self.whole(name)
        return np.concatenate([whole[:0], *(whole[start:end] for start, end in picked)])


def _read_spans(
    descriptor: int, name: str, array: _Array, spans: Sequence[tuple[int, int]]
) -> np.ndarray:
    # numpy, unlike torch, requests huge pages. The first write to its memory is therefore faster.
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
            raise ValueError(f"{name}: {size} bytes expected, got the end of the file after {done}")
        done += count


def _read_head(descriptor: int) -> bytes:
    """Read the first `_HEAD_BYTES` of a file, and more if its header is longer."""
    head = os.pread(descriptor, _HEAD_BYTES, 0)
    size = int.from_bytes(head[:8], "little")
    if len(head) < 8 or size > _MAX_HEADER_BYTES:
        raise ValueError(f"a safetensors header expected, got {head[:8]!r} at the start")
    while len(head) < 8 + size:
        more = os.pread(descriptor, 8 + size - len(head), len(head))
        if not more:
            raise ValueError(f"a header of {size} bytes expected, got the end of the file")
        head += more
    return head


def _arrays(header: Any, start: int) -> tuple[dict[str, str], dict[str, _Array], int]:
    """Parse a header.

    Args:
        header: parsed JSON of the header.
        start: offset in bytes at which the header ends in the file.

    Returns:
        A tuple of the metadata, the arrays by name in the order of their offsets, and the offset in
        bytes at which the last array ends in the file.

    Raises:
        ValueError: if the header is malformed, or the arrays overlap or have gaps between them.
    """
    if not isinstance(header, dict):
        raise ValueError(f"a safetensors header expected, got {type(header).__name__}")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__: an object of strings expected")
    rows = sorted(header.items(), key=lambda item: item[1]["data_offsets"])
    arrays, at = {}, 0
    for name, row in rows:
        shape, kind = row["shape"], row["dtype"]
        if kind not in _DTYPES:
            raise ValueError(f"{name}: dtype {' or '.join(_DTYPES)} expected, got {kind}")
        for size in shape:
            if type(size) is not int or size < 0:
                raise ValueError(f"{name}: a shape of integers >= 0 expected, got {shape}")
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
