"""Output of a child process, read with a limit on how long it may be silent."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable
from typing import IO

_CHUNK = 1 << 20


class SilentChildError(Exception):
    """The child wrote nothing for as long as it may."""


class DeadChildError(Exception):
    """The child's output ended; the message says how it ended and its last words."""


class ChildPipe:
    """Reads what a child writes to standard output; keeps the end of what it complains.

    Args:
        process: started with pipes for standard output and standard error.
        clock: seconds, rising.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._out, self._clock = process, process.stdout, clock
        self._deadline = float("inf")
        self._buffer = bytearray()
        self._errors = b""
        self._selector = selectors.DefaultSelector()
        for stream in (process.stdout, process.stderr):
            os.set_blocking(stream.fileno(), False)
            self._selector.register(stream, selectors.EVENT_READ)

    def allow(self, seconds: float) -> None:
        """From now on reading may take that long in all, until this is called again."""
        self._deadline = self._clock() + seconds

    def read(self, size: int) -> bytearray:
        """Exactly `size` bytes.

        Raises:
            SilentChildError: when the time allowed is over.
            DeadChildError: when the output ends before.
        """
        data = bytearray(size)
        taken = min(size, len(self._buffer))
        data[:taken] = self._buffer[:taken]
        del self._buffer[:taken]
        view = memoryview(data)
        while taken < size:
            for stream in self._ready():
                if stream is self._out:
                    taken += self._read_into(view[taken:])
                else:
                    self._hear(stream)
        return data

    def read_line(self, limit: int = 1 << 20) -> bytes:
        """Up to a line feed; DeadChildError as well for a line beyond `limit` bytes."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > limit:
                raise DeadChildError("it wrote what is no message")
            for stream in self._ready():
                if stream is self._out:
                    part = bytearray(4096)
                    self._buffer += part[: self._read_into(memoryview(part))]
                else:
                    self._hear(stream)
        return bytes(self.read(self._buffer.index(b"\n") + 1))

    def close(self) -> None:
        """Let go of the pipes' watch."""
        self._selector.close()

    def _ready(self) -> list[IO[bytes]]:
        left = self._deadline - self._clock()
        wait = None if left == float("inf") else max(left, 0)
        ready = self._selector.select(wait) if left > 0 else []
        if not ready:
            raise SilentChildError
        return [key.fileobj for key, _ in ready]  # type: ignore[misc]

    def _read_into(self, view: memoryview) -> int:
        try:
            count = os.readv(self._out.fileno(), [view[:_CHUNK]])
        except BlockingIOError:
            return 0
        if count == 0:
            code = self._process.wait()
            said = self._errors.decode(errors="replace").strip().splitlines()
            raise DeadChildError(f"exit {code}: {said[-1][:200] if said else 'without a word'}")
        return count

    def _hear(self, stream: IO[bytes]) -> None:
        part = os.read(stream.fileno(), _CHUNK)
        if not part:
            self._selector.unregister(stream)
        self._errors = (self._errors + part)[-2000:]
