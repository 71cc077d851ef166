"""Output of a child process, read with a limit on how long it may be silent."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable

_CHUNK = 1 << 20


class SilentChildError(Exception):
    """The child wrote nothing for as long as it may."""


class DeadChildError(Exception):
    """The child's output ended; the message says how it ended and its last words."""


class ChildPipe:
    """Reads what a child writes to standard output; keeps the end of what it complains.

    The process was started with pipes for standard output and standard error.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], clock: Callable[[], float] = time.monotonic
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self._process, self._clock = process, clock
        self._out, self._err = process.stdout, process.stderr
        self._deadline = float("inf")
        self._buffer = bytearray()
        self._errors = b""
        self._selector = selectors.DefaultSelector()
        for stream in (self._out, self._err):
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
            if self._has_output():
                taken += self._read_into(view[taken:])
        return data

    def read_line(self, limit: int = 1 << 20) -> bytes:
        """Up to a line feed; DeadChildError as well for a line beyond `limit` bytes."""
        while b"\n" not in self._buffer:
            if len(self._buffer) > limit:
                raise DeadChildError("it wrote what is no message")
            if self._has_output():
                part = bytearray(4096)
                self._buffer += part[: self._read_into(memoryview(part))]
        return bytes(self.read(self._buffer.index(b"\n") + 1))

    def close(self) -> None:
        """Let go of the pipes' watch."""
        self._selector.close()

    def _has_output(self) -> bool:
        """Wait for output or complaints, and hear the latter."""
        left = self._deadline - self._clock()
        wait = None if left == float("inf") else max(left, 0)
        ready = [key.fileobj for key, _ in self._selector.select(wait)] if left > 0 else []
        if not ready:
            raise SilentChildError
        if self._err in ready:
            part = os.read(self._err.fileno(), _CHUNK)
            if not part:
                self._selector.unregister(self._err)
            self._errors = (self._errors + part)[-2000:]
        return self._out in ready

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
