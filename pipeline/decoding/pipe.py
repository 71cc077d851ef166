"""Reader of the output of a child process, with a time limit."""

import os
import selectors
import subprocess
import time
from collections.abc import Callable

_CHUNK = 1 << 20


class SilentChildError(Exception):
    """The child did not write the expected output within the time limit."""


class DeadChildError(Exception):
    """The output of the child ended.

    The message contains the exit code of the child and its last line of standard error.
    """


class ChildPipe:
    """Reader of the standard output of a child. It also stores the end of the standard error.

    Args:
        process: child process, started with pipes for standard output and standard error.
        clock: function that returns the time in seconds.
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
        """Set one time limit for all following reads, in seconds from now."""
        self._deadline = self._clock() + seconds

    def read(self, size: int) -> bytearray:
        """Read exactly `size` bytes.

        Raises:
            SilentChildError: if the time limit is exceeded.
            DeadChildError: if the output ends early.
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
        """Read a line, including its line feed.

        Raises:
            SilentChildError: if the time limit is exceeded.
            DeadChildError: if the output ends early, or the line is longer than `limit` bytes.
        """
        while b"\n" not in self._buffer:
            if len(self._buffer) > limit:
                raise DeadChildError("its output is not a valid message")
            if self._has_output():
                part = bytearray(4096)
                self._buffer += part[: self._read_into(memoryview(part))]
        return bytes(self.read(self._buffer.index(b"\n") + 1))

    def close(self) -> None:
        """Stop monitoring the pipes. The pipes stay open."""
        self._selector.close()

    def _has_output(self) -> bool:
        """Wait for the child, store its error output and return whether output is ready."""
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
            raise DeadChildError(
                f"exit code {code}: {said[-1][:200] if said else 'no error message'}"
            )
        return count
