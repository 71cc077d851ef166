import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.decoding import DecodeOptions, DecodePool, DirectStream, FrameRequest, num_workers
from pipeline.decoding import pool as pool_module
from pipeline.decoding.pool import ChildDecoder
from pipeline.decoding.video_frames import VideoFrames
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.channel import Channel, Stopped
from pipeline.runtime.files import file_sha256
from tests.pipeline.video_maker import write_clip


def request_of(path: Path, **changes: object) -> FrameRequest:
    known = {name: changes.pop(name) for name in ("num_uniform", "batch_size") if name in changes}
    options = DecodeOptions(**changes)  # type: ignore[arg-type]
    return FrameRequest(path, file_sha256(path), options, **{"num_uniform": 5} | known)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clip with frames of 230 kB, which is more than a pipe can buffer."""
    path = tmp_path_factory.mktemp("large") / "large.mp4"
    write_clip(path, 12, size=(320, 240))
    return path


@pytest.fixture
def child() -> Iterator[ChildDecoder]:
    decoder = ChildDecoder()
    yield decoder
    decoder.close()


@pytest.mark.parametrize("workers", [0, 2])
def test_pool_equals_direct_decoding(tmp_path: Path, large: Path, workers: int) -> None:
    other, text = tmp_path / "other.mp4", tmp_path / "text.mp4"
    write_clip(other, 9)
    text.write_text("no video")
    requests = [request_of(path, batch_size=2) for path in (large, text, other, large)]
    with DecodePool(workers) as pool:
        streams = [pool.start(request) for request in requests]
        for stream, request in zip(streams, requests, strict=True):
            if request.path == text:
                with pytest.raises(ItemError, match="FFmpeg cannot open the file") as failed:
                    list(stream)
                assert failed.value.reason is FailureReason.UNREADABLE_VIDEO
                continue
            direct = DirectStream(request)
            for ours, theirs in zip(stream, direct, strict=True):
                assert torch.equal(ours.frames, theirs.frames)
                assert torch.equal(ours.frame_index, theirs.frame_index)
                assert torch.equal(ours.timestamps_s, theirs.timestamps_s)
            assert stream.source == direct.source


def test_death_of_a_child_affects_only_its_video(large: Path, child: ChildDecoder) -> None:
    stream = iter(child.open(request_of(large)))
    next(stream)
    child.kill()
    with pytest.raises(ItemError, match="died") as failed:
        list(stream)
    assert failed.value.reason is FailureReason.DECODER_DIED
    assert sum(len(batch) for batch in child.open(request_of(large))) == 5


def test_hanging_child_is_killed(large: Path, child: ChildDecoder) -> None:
    assert len(list(child.open(request_of(large)))) == 5
    assert child._process is not None
    os.kill(child._process.pid, signal.SIGSTOP)
    with pytest.raises(ItemError, match=r"no frames within 0\.2 s") as failed:
        list(child.open(request_of(large, timeout_s=0.2)))
    assert failed.value.reason is FailureReason.DECODE_TIMEOUT
    assert len(list(child.open(request_of(large)))) == 5


def test_child_reports_out_of_memory(tmp_path: Path) -> None:
    path = tmp_path / "wide.mp4"
    write_clip(path, 2, size=(2048, 1536))
    child = ChildDecoder(memory_bytes=5_000_000)
    with closing(child), pytest.raises(ItemError) as failed:
        list(child.open(request_of(path)))
    assert failed.value.reason is FailureReason.OUT_OF_MEMORY


def test_buffered_frames_are_bounded(large: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "BUFFER_BYTES", 2 * 320 * 240 * 3)
    made: list[int] = []

    class Counting(DirectStream):
        def __iter__(self) -> Iterator[VideoFrames]:
            for batch in super().__iter__():
                made.append(len(batch))
                yield batch

    monkeypatch.setattr(pool_module, "DirectStream", Counting)
    with DecodePool(0) as pool:
        stream = pool.start(request_of(large, num_uniform=12))
        deadline = time.monotonic() + 30
        while len(made) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert len(made) == 3  # two are buffered, the third waits in the decode thread
        assert sum(len(batch) for batch in stream) == 12


def test_closing_the_pool_ends_readers_and_children(large: Path) -> None:
    pool = DecodePool(1)
    first, second = (pool.start(request_of(large, num_uniform=12)) for _ in range(2))
    next(iter(first))
    process = pool._children[0]._process
    assert process is not None
    pool.close()
    with pytest.raises(Stopped):
        list(first)
    with pytest.raises(Stopped):
        list(second)
    assert process.poll() is not None


def test_file_changed_while_decoding_raises(large: Path, tmp_path: Path) -> None:
    path = tmp_path / "growing.mp4"
    path.write_bytes(large.read_bytes())
    stream = iter(DirectStream(request_of(path)))
    next(stream)
    with open(path, "ab") as file:
        file.write(b"\0\0\0\x08free")
    with pytest.raises(ItemError, match="changed while it was read") as failed:
        list(stream)
    assert failed.value.reason is FailureReason.CHANGED_VIDEO


def test_number_of_workers_depends_on_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for cores in (1, 2, 4, 16, 96):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        found.append(num_workers(None))
    assert found == [1, 1, 1, 4, 8]
    assert num_workers(3) == 3


@given(st.lists(st.integers(1, 9), max_size=30), st.integers(1, 12))
@settings(deadline=None, max_examples=40)
def test_channel_keeps_order_and_limit(weights: list[int], limit: int) -> None:
    channel: Channel[tuple[int, int]] = Channel(limit, lambda item: item[1])
    items = list(enumerate(weights))

    def fill() -> None:
        for item in items:
            channel.put(item)
            waiting = channel._waiting
            assert waiting <= max(limit, 9)
        channel.finish()

    thread = threading.Thread(target=fill)
    thread.start()
    assert list(channel) == items
    thread.join()


def test_decode_process_does_not_import_torch() -> None:
    code = "import sys, pipeline.decoding.child; print('torch' in sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"
