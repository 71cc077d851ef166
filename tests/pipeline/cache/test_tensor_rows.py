"""Tests of `TensorRows`, which must reject every header that safetensors rejects."""

import gc
import json
import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from pipeline.cache.reader import ClipReader
from pipeline.cache.tensor_rows import TensorRows
from pipeline.errors import ItemError
from tests.pipeline.clips import random_clip, save_clip

ARRAYS = {
    "long": torch.arange(24).reshape(6, 4),
    "half": torch.rand(6, 3, 2).half(),
    "large": torch.rand(6, 40, 100),
    "empty": torch.zeros(0, 5),
    "none": torch.zeros(6, 0),
}
PLAIN = save(ARRAYS, metadata={"laiar": "text"})
DAMAGE = (OSError, ValueError, TypeError, KeyError, IndexError, RuntimeError, OverflowError)


def parts(data: bytes) -> tuple[dict[str, Any], bytes]:
    start = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:start]), data[start:]


def packed(header: Any, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def is_read(path: Path) -> bool:
    try:
        rows = TensorRows(path)
        for name in rows.arrays:
            rows.read(name)
    except DAMAGE:
        return False
    return True


def library_reads(path: Path) -> bool:
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                file.get_tensor(name)
    except (SafetensorError, *DAMAGE):
        return False
    return True


@given(st.dictionaries(st.sampled_from(sorted(ARRAYS)), st.none(), min_size=1), st.data())
@settings(max_examples=60, deadline=None)
def test_rows_equal_the_stored_rows(picked: dict[str, None], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(PLAIN)
        rows = TensorRows(path)
        assert rows.metadata == {"laiar": "text"}
        assert set(rows.arrays) == set(ARRAYS)
        for name in picked:
            values = ARRAYS[name]
            assert rows.arrays[name].num_rows == len(values)
            assert np.array_equal(rows.read(name), values.numpy())
            edges = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=6)))
            spans = list(zip(edges[::2], edges[1::2], strict=False))
            found = torch.from_numpy(rows.read(name, spans))
            wanted = torch.cat([values[:0], *(values[a:b] for a, b in spans)])
            assert torch.equal(found, wanted)
            assert found.dtype == values.dtype


@given(st.integers(0, 8 * 700 - 1))
@settings(max_examples=300, deadline=None)
def test_flipped_header_bit_that_safetensors_rejects_is_rejected(bit: int) -> None:
    header_end = 8 + int.from_bytes(PLAIN[:8], "little")
    damaged = bytearray(PLAIN)
    damaged[bit // 8 % header_end] ^= 1 << bit % 8
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.safetensors"
        path.write_bytes(damaged)
        # TensorRows also rejects dtypes that clips do not use, although safetensors accepts them.
        assert not is_read(path) or library_reads(path)


def without(name: str) -> dict[str, Any]:
    header, _ = parts(PLAIN)
    return {key: row for key, row in header.items() if key != name}


def changed(name: str, **values: Any) -> dict[str, Any]:
    header, _ = parts(PLAIN)
    return header | {name: header[name] | values}


BODY = parts(PLAIN)[1]
OVERLAP = parts(PLAIN)[0]["long"]["data_offsets"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 7,
        b"\xff" * 8 + BODY,
        PLAIN[:-1],
        PLAIN[:40],
        PLAIN + b"\0",
        packed([1, 2], BODY),
        packed(b"{", BODY),
        packed(b"[" * 100_000, BODY),
        packed(b'{"a": "\xff"}', BODY),
        packed({"a": 1}, BODY),
        packed(without("half"), BODY),
        packed(changed("half", data_offsets=OVERLAP), BODY),
        packed(changed("half", data_offsets=[0]), BODY),
        packed(changed("half", shape=[5, 3, 2]), BODY),
        packed(changed("half", shape=[-6, -3, 2]), BODY),
        packed(changed("half", shape=["6", 3, 2]), BODY),
        packed(changed("half", shape=36), BODY),
        packed(changed("half", dtype="F99"), BODY),
        packed(changed("empty", shape=[0, 10**30]), BODY),
        packed(parts(PLAIN)[0] | {"__metadata__": {"laiar": 3}}, BODY),
        packed(parts(PLAIN)[0] | {"__metadata__": ["laiar"]}, BODY),
    ],
)
def test_file_that_safetensors_rejects_is_rejected(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    assert not library_reads(path)
    assert not is_read(path)


def test_file_with_a_scalar_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(save({"scalar": torch.tensor(3.0), "long": torch.arange(3)}))
    rows = TensorRows(path)
    assert rows.arrays["scalar"].num_rows == 0
    assert rows.read("long", [(1, 3)]).tolist() == [1, 2]


def test_file_that_is_damaged_after_a_first_read_is_rejected(tmp_path: Path) -> None:
    """Parsed headers are kept by their bytes, so that no state of the file can be out of date."""
    path = tmp_path / "a.safetensors"
    path.write_bytes(PLAIN)
    before = path.stat()
    for number in range(8, 8 + int.from_bytes(PLAIN[:8], "little"), 7):
        damaged = bytearray(PLAIN)
        damaged[number] ^= 1
        path.write_bytes(PLAIN)
        assert is_read(path)
        path.write_bytes(damaged)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert not is_read(path) or library_reads(path)
    path.write_bytes(PLAIN)
    first = TensorRows(path).read("long")
    path.write_bytes(PLAIN[:-1])
    with pytest.raises(ValueError, match="bytes expected"):
        TensorRows(path)
    os.truncate(path, 0)
    path.write_bytes(save(ARRAYS | {"long": ARRAYS["long"] + 1}, metadata={"laiar": "text"}))
    assert np.array_equal(TensorRows(path).read("long"), first + 1)


@pytest.mark.parametrize("spans", [[(0, 7)], [(3, 2)], [(-1, 2)]])
def test_rows_out_of_range_are_rejected(spans: list[tuple[int, int]], tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(PLAIN)
    with pytest.raises(ValueError, match=r"long: rows in \[0, 6\] expected"):
        TensorRows(path).read("long", spans)


def test_open_reader_is_not_affected_by_replacement_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    first, second = random_clip([2, 3], seed=0), random_clip([3, 2], seed=1)
    save_clip(path, first)
    reader = ClipReader(path)
    save_clip(path, second)
    assert torch.equal(reader.read().boxes, first.boxes)
    assert torch.equal(ClipReader(path).read().boxes, second.boxes)


def test_file_truncated_after_opening_is_reported_as_damaged(tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    save_clip(path, random_clip([40] * 12))
    reader = ClipReader(path)
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(ItemError, match="got the end of the file"):
        reader.read()


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts files in /proc")
def test_files_are_closed_after_reading_and_after_errors(tmp_path: Path) -> None:
    path = tmp_path / "A.safetensors"
    save_clip(path, random_clip([1]))
    bad = tmp_path / "B.safetensors"
    bad.write_bytes(path.read_bytes()[:-1])
    old = tmp_path / "C.safetensors"
    old.write_bytes(path.read_bytes().replace(b"laiar.clip/", b"laiar.abcd/"))
    gc.collect()  # errors of other tests may reference readers
    before, kept = len(os.listdir("/proc/self/fd")), []
    for _ in range(5):
        ClipReader(path).read()
        for refused in (bad, old):
            with pytest.raises(ItemError) as caught:
                ClipReader(refused)
            kept.append(caught.value)  # its traceback references the reader
    assert len(os.listdir("/proc/self/fd")) == before
