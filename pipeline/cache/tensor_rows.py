"""Reader of single rows of the arrays in a safetensors file.

The safetensors library copies each slice twice, and needs the path of a file that may be replaced
at any time. This module reads rows of an open file directly into the returned arrays.
`python -m tools.benchmark cache` compares its speed with a plain read.
`tests/pipeline/cache/test_tensor_rows.py` compares `parse_header` with the library on damaged
headers.
"""

import os
import weakref
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.cache.tensor_header import parse_header

_MAX_HEADER_BYTES = 100_000_000
#: Number of bytes read when a file is opened. These bytes usually contain the header and the small
#: arrays, which safetensors stores first.
_HEAD_BYTES = 1 << 15
Spans = Sequence[tuple[int, int]]


class TensorRows:
    """Arrays of a safetensors file.

    The file stays open until `close` is called or the object is garbage-collected.

    Args:
        path: path of a safetensors file with float16, float32, float64 and int64 arrays.

    Attributes:
        metadata: metadata in the header.
        arrays: arrays by name, in the order of their offsets.
        close: function that closes the file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if the file is truncated, or is not a safetensors file with these dtypes.
        TypeError, KeyError, RecursionError: possible for some malformed headers.
    """

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.close = weakref.finalize(self, os.close, self._file)
        try:
            self._head = head = os.pread(self._file, _HEAD_BYTES, 0)
            size = 8 + int.from_bytes(head[:8], "little")
            if len(head) < 8 or size > _MAX_HEADER_BYTES:
                raise ValueError(f"a safetensors header expected, got {head[:8]!r} at the start")
            if size > len(head):
                self._head = head = os.pread(self._file, size, 0)
            self.metadata, self.arrays, end = parse_header(head[8:size])
            if (found := os.fstat(self._file).st_size) != end:
                raise ValueError(f"{end} bytes expected, got {found}")
        except BaseException:
            self.close()  # the traceback of a stored error would keep the file open
            raise

    def read(self, name: str, spans: Spans | None = None) -> np.ndarray:
        """Load rows of an array.

        Args:
            name: name of the array.
            spans: spans [start, end) of rows, or None for all rows.

        Returns:
            The rows of the spans, concatenated in the order of the spans.

        Raises:
            KeyError: if the file has no such array.
            OSError: if the file cannot be read.
            ValueError: if a span is out of range, or the file is truncated.
        """
        spans = [(0, self.arrays[name].num_rows)] if spans is None else spans
        values = self.empty(name, spans)
        self.fill(values, name, spans)
        return values

    def empty(self, name: str, spans: Spans) -> np.ndarray:
        """Return an uninitialised array for the rows that `fill` reads. See `read`."""
        array, count = self.arrays[name], 0
        for start, end in spans:
            if not 0 <= start <= end <= array.num_rows:
                raise ValueError(f"{name}: rows in [0, {array.num_rows}] expected, got {spans}")
            count += end - start
        # numpy, unlike torch, requests huge pages. The first write to its memory is faster.
        return np.empty((count, *array.shape[1:]), array.dtype)

    def fill(self, values: np.ndarray, name: str, spans: Spans) -> None:
        """Read rows into the result of `empty` for the same name and spans. See `read`."""
        if not values.size:
            return
        view, array, done = values.data.cast("B"), self.arrays[name], 0
        for start, end in spans:
            at, size = array.offset + start * array.row_bytes, (end - start) * array.row_bytes
            part = view[done : done + size]
            done += size
            if at + size <= len(self._head):
                part[:] = self._head[at : at + size]
                continue
            while part:  # one call reads at most 2 GiB
                count = os.preadv(self._file, [part], at)
                if count == 0:
                    raise ValueError(
                        f"{name}: {len(part)} more bytes expected, got the end of the file"
                    )
                part, at = part[count:], at + count
