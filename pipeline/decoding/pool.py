"""Pool of processes that decode frames in advance, with bounded buffers."""

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.decoding.images import DecodedImages
from pipeline.decoding.pipe import ChildPipe, DeadChildError, SilentChildError
from pipeline.decoding.request import DirectStream, FrameRequest, FrameStream
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.channel import Channel, Stopped
from pipeline.runtime.item_errors import as_item_error

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames

ROOT = Path(__file__).resolve().parent.parent.parent
#: Maximum size in bytes of the buffered frames per video. A single batch may be larger.
BUFFER_BYTES = 256 << 20
_START_S = 120.0


def num_workers(wanted: int | None) -> int:
    """Return the number of decode processes.

    The number is `wanted`. If `wanted` is None, it is one process per four cores, from 1 to 8.
    """
    return min(max((os.cpu_count() or 1) // 4, 1), 8) if wanted is None else wanted


class DecodePool:
    """Pool of decode processes that decode several videos before their frames are read.

    Args:
        workers: number of child processes, each of which decodes one video at a time. If 0, a
            thread of this process decodes, and a crash of the decoder ends the whole process.
        memory_bytes: number of bytes that a child may allocate in addition to its memory at
            start-up, or 0 for no limit.
    """

    def __init__(self, workers: int, memory_bytes: int = 0) -> None:
        self._todo: Channel[BufferedStream] = Channel(1 << 30)
        self._open: set[BufferedStream] = set()
        self._children = [ChildDecoder(memory_bytes) for _ in range(workers)]
        decoders: list[ChildDecoder | None] = [*self._children] if workers else [None]
        self._threads = [
            threading.Thread(target=self._work, args=(decoder,), name="decode", daemon=True)
            for decoder in decoders
        ]
        for thread in self._threads:
            thread.start()

    def start(self, request: FrameRequest) -> "BufferedStream":
        """Queue a video and return the stream of its frames."""
        stream = BufferedStream(request)
        self._open.add(stream)
        self._todo.put(stream)
        return stream

    def close(self) -> None:
        """Kill the children and close all open streams. Their readers raise `Stopped`."""
        self._todo.close()
        for stream in list(self._open):
            stream.close()
        for child in self._children:
            child.kill()
        for thread in self._threads:
            thread.join()
        for child in self._children:
            child.close()

    def __enter__(self) -> "DecodePool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _work(self, child: "ChildDecoder | None") -> None:
        with contextlib.suppress(Stopped):
            for stream in self._todo:
                request = stream.request
                frames: FrameStream = child.open(request) if child else DirectStream(request)
                with contextlib.suppress(Stopped):
                    stream.fill(frames)
                self._open.discard(stream)


class BufferedStream:
    """`FrameStream` that another thread fills.

    The thread waits while `BUFFER_BYTES` are buffered.
    """

    def __init__(self, request: FrameRequest) -> None:
        self.request = request
        self.source: VideoSource | None = None
        self._batches: Channel[VideoFrames] = Channel(BUFFER_BYTES, lambda b: b.frames.nbytes)
        self._error: ItemError | UsageError | None = None

    def fill(self, frames: FrameStream) -> None:
        """Buffer all batches of another stream. Its errors are raised in the reader."""
        try:
            with as_item_error(self.request.path.name):
                for batch in frames:
                    self._batches.put(batch)
        except (ItemError, UsageError) as error:
            self._error = error
        self.source = frames.source
        self._batches.finish()

    def __iter__(self) -> Iterator["VideoFrames"]:
        yield from self._batches
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Discard the buffered batches and raise `Stopped` in both threads that use the stream."""
        self._batches.close()


class ChildDecoder:
    """Child process that runs `pipeline.decoding.child`.

    The process is started by the first request, and restarted by a later request if it has died.
    """

    def __init__(self, memory_bytes: int = 0) -> None:
        self._memory_bytes = memory_bytes
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: ChildPipe | None = None

    def open(self, request: FrameRequest) -> "ChildStream":
        """Return a stream of frames that the child decodes during the iteration."""
        return ChildStream(self, request)

    def ask(self, request: FrameRequest) -> ChildPipe:
        """Send a request and return the pipe of the answer.

        Raises:
            DeadChildError: if the request cannot be sent.
            SilentChildError: if the process does not start within the time limit.
        """
        if self._process is None or self._process.poll() is not None or self._pipe is None:
            self.close()
            self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._pipe is not None
        try:
            self._process.stdin.write(json.dumps(request.to_dict()).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise DeadChildError(f"cannot send a request: {error}") from error
        return self._pipe

    def kill(self) -> None:
        """Kill the child. This method may be called from any thread."""
        process = self._process
        if process is not None:
            process.kill()

    def close(self) -> None:
        """Kill the child and close its pipes. No other thread may read at the same time."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        if self._pipe is not None:
            self._pipe.close()
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.decoding.child", str(self._memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )
        self._pipe = ChildPipe(self._process)
        self._pipe.allow(_START_S)
        self._pipe.read_line()


class ChildStream:
    """`FrameStream` of frames that a child decodes."""

    def __init__(self, child: ChildDecoder, request: FrameRequest) -> None:
        self._child, self.request = child, request
        self.source: VideoSource | None = None

    def __iter__(self) -> Iterator["VideoFrames"]:
        name, timeout_s = self.request.path.name, self.request.options.timeout_s
        is_over = False
        try:
            pipe = self._child.ask(replace(self.request, path=self.request.path.absolute()))
            while not is_over:
                pipe.allow(timeout_s)
                message = json.loads(pipe.read_line())
                is_over = message["kind"] != "frames"
                frames = self._receive(message, pipe)
                if frames is not None:
                    yield frames
        except SilentChildError:
            raise ItemError(
                FailureReason.DECODE_TIMEOUT,
                f"{name}: the decode process returned no frames within {timeout_s:g} s and was "
                "killed; raise decode.timeout_s, or download the video again",
            ) from None
        except (DeadChildError, ValueError, KeyError, TypeError) as error:
            raise ItemError(
                FailureReason.DECODER_DIED,
                f"{name}: the decode process died ({error}); download the video again, or raise "
                "decode.memory_gb if it ran out of memory",
            ) from None
        finally:
            if not is_over:
                self._child.close()

    def _receive(self, message: dict[str, Any], pipe: ChildPipe) -> "VideoFrames | None":
        match message["kind"]:
            case "error":
                raise ItemError(FailureReason(message["reason"]), message["message"])
            case "usage":
                raise UsageError(message["message"])
        self.source = VideoSource(path=self.request.path, **message["source"])
        if message["kind"] == "end":
            return None
        shape = (len(message["index"]), 3, message["height"], message["width"])
        if shape[2] * shape[3] > self.request.options.max_pixels:
            raise ValueError(f"frames of {shape[3]}x{shape[2]} exceed decode.max_pixels")
        data = pipe.read(int(np.prod(shape)))
        images = np.frombuffer(data, np.uint8).reshape(shape)
        return DecodedImages(images, message["index"], message["times_s"], self.source).as_frames()
