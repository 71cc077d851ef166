"""Frames by decord, in a child process with a wall-clock limit.

It can hang without an end, or take the process with it, and it is off by some frames on open-GOP
and edit-list files; its frame count and times are compared with those of the packets.
"""

import importlib.util
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from pipeline.decoding.scan import Scan
from pipeline.errors import FailureReason, ItemError, UsageError

CHILD = Path(__file__).with_name("decord_child.py")


def check_decord() -> None:
    """UsageError if decord is not installed."""
    try:
        is_there = importlib.util.find_spec("decord") is not None
    except ValueError:
        is_there = False
    if not is_there:
        raise UsageError(
            "decode.backend=decord: the package decord expected, it is not installed; "
            "pip install decord (decord2 where there is no wheel), or use decode.backend=pyav"
        )


def decord_images(
    path: Path, scan: Scan, ordinals: list[int], timeout_s: float, child: Path = CHILD
) -> Iterator[tuple[int, np.ndarray]]:
    """RGB images of some frames.

    Args:
        path: the video.
        scan: what its packets tell.
        ordinals: frames in order of presentation, rising.
        timeout_s: the child is killed after this many seconds.
        child: the script that decodes.

    Yields:
        (ordinal, (H, W, 3) uint8), rising.

    Raises:
        ItemError: DECODE_TIMEOUT, DECODER_DIED, or CORRUPT_VIDEO where decord counts other frames
            or other times than the packets have.
    """
    words = [sys.executable, str(child), str(path.resolve()), json.dumps(ordinals)]
    deadline = time.monotonic() + timeout_s
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            pipe = _Pipe(process, path, deadline, timeout_s)
            head = json.loads(pipe.read_line())
            _check(path, scan, ordinals, head)
            size = head["height"] * head["width"] * 3
            for ordinal in ordinals:
                image = np.frombuffer(pipe.read(size), dtype=np.uint8)
                yield ordinal, image.reshape(head["height"], head["width"], 3)
        finally:
            process.kill()


class _Pipe:
    """Reads a child's output until a deadline."""

    def __init__(
        self, process: subprocess.Popen[bytes], path: Path, deadline: float, timeout_s: float
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._out: IO[bytes] = process.stdout
        self._process, self._path = process, path
        self._deadline, self._timeout_s = deadline, timeout_s
        self._buffer = bytearray()
        self._errors = b""
        self._selector = selectors.DefaultSelector()
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes."""
        while len(self._buffer) < size:
            self._fill()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def read_line(self) -> bytes:
        """Up to a line feed."""
        while b"\n" not in self._buffer:
            self._fill()
        return self.read(self._buffer.index(b"\n") + 1)

    def _fill(self) -> None:
        left = self._deadline - time.monotonic()
        ready = self._selector.select(max(left, 0)) if left > 0 else []
        if not ready:
            raise ItemError(
                FailureReason.DECODE_TIMEOUT,
                f"{self._path.name}: decord gave nothing for {self._timeout_s:g} s and was "
                "killed; use decode.backend=pyav, or raise decode.timeout_s",
            )
        for key, _ in ready:
            part = os.read(key.fd, 1 << 20)
            if not part:
                self._selector.unregister(key.fileobj)
            if key.fileobj is self._out:
                if not part:
                    self._ended()
                self._buffer += part
            else:
                self._errors = (self._errors + part)[-2000:]

    def _ended(self) -> None:
        code = self._process.wait()
        said = self._errors.decode(errors="replace").strip().splitlines()
        raise ItemError(
            FailureReason.DECODER_DIED,
            f"{self._path.name}: decord ended early (exit {code}): "
            f"{said[-1][:200] if said else 'without a word'}; use decode.backend=pyav",
        )


def _check(path: Path, scan: Scan, ordinals: list[int], head: dict[str, object]) -> None:
    problem = ""
    starts = head["starts_s"]
    assert isinstance(starts, list)
    if head["num_frames"] != len(scan.pts_s):
        problem = f"{len(scan.pts_s)} frames expected, decord counts {head['num_frames']}"
    elif scan.has_pts:
        first = scan.pts_s[0]
        for ordinal, start in zip(ordinals, starts, strict=True):
            wanted = scan.pts_s[ordinal]
            if min(abs(start - wanted), abs(start - wanted + first)) > 0.5 / scan.rate:
                problem = f"frame {ordinal} at {wanted:.3f} s expected, decord has {start:.3f} s"
                break
    if problem:
        raise ItemError(
            FailureReason.CORRUPT_VIDEO, f"{path.name}: {problem}; use decode.backend=pyav"
        )
