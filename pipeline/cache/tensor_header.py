"""Parser of the header of a safetensors file."""

import json
import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("float16"),
    "F32": np.dtype("float32"),
    "F64": np.dtype("float64"),
    "I64": np.dtype("int64"),
}
#: Number of parsed headers that a process keeps. The training clips of Charades have 7,985 headers.
KEPT_HEADERS = 8192


class StoredArray(NamedTuple):
    """Array in a safetensors file. A scalar has 0 rows."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset: int  # of the first row in the file, in bytes
    num_rows: int
    row_bytes: int


@lru_cache(KEPT_HEADERS)
def parse_header(text: bytes) -> tuple[dict[str, str], dict[str, StoredArray], int]:
    """Parse the JSON header of a safetensors file by the rules of the library.

    Args:
        text: bytes 8 to n of the file, where n is the offset of the data.

    Returns:
        A tuple of the metadata, the arrays by name in the order of their offsets, and the size in
        bytes of the file.

    Raises:
        ValueError: if the header is malformed, or the arrays overlap or have gaps between them.
        TypeError, KeyError, RecursionError: possible for some malformed headers.
    """
    header = json.loads(text)
    if not isinstance(header, dict):
        raise ValueError(f"a safetensors header expected, got {type(header).__name__}")
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(v, str) for v in metadata.values()):
        raise ValueError("__metadata__: an object of strings expected")
    arrays, at = {}, 0
    for name, row in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        shape, kind, found = row["shape"], row["dtype"], row["data_offsets"]
        if kind not in _DTYPES:
            raise ValueError(f"{name}: dtype {' or '.join(_DTYPES)} expected, got {kind}")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ValueError(f"{name}: a shape of integers >= 0 expected, got {shape}")
        dtype = _DTYPES[kind]
        end = at + dtype.itemsize * math.prod(shape)
        if found != [at, end]:
            raise ValueError(f"{name}: data_offsets [{at}, {end}] expected, got {found}")
        row_bytes, num_rows = dtype.itemsize * math.prod(shape[1:]), shape[0] if shape else 0
        arrays[name] = StoredArray(dtype, tuple(shape), 8 + len(text) + at, num_rows, row_bytes)
        at = end
    return metadata, arrays, 8 + len(text) + at
