"""Several processes that write to one folder: who lives, what the dead left, one at a time.

.writer.tmp-HOST-PID     locked by that process for as long as it writes to the folder
.lock                    locked for the moment in which a file of many lines changes
.NAME.tmp-HOST-PID-HEX   a file while it is written

Locks save work; that files are right does not depend on them, since file systems exist on which
every lock is granted: files appear whole by a rename, and all writers would write the same bytes.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from pipeline.runtime.files import host_mark, writer_token

LOGGER = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"^\..+\.tmp-(([0-9a-f]{8})-(\d+))-[0-9a-f]{8}$")
_WRITER = re.compile(r"^\.writer\.tmp-(([0-9a-f]{8})-(\d+))$")
#: A file is under its temporary name for the moment of its writing; older ones of other machines,
#: whose processes cannot be seen from here, are left over.
_FOREIGN_AGE_S = 600.0
_PATIENCE_S = 60.0
#: The clocks of processes and of files agree within this.
_CLOCK_S = 2.0
LOCK = ".lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold a folder's lock, to change a file that others change as well.

    Where locks cannot be had, or one is held for a minute, the work goes on without.
    """
    lock = FileLock(folder / LOCK, timeout=_PATIENCE_S)
    try:
        lock.acquire()
    except (OSError, RuntimeError) as error:
        LOGGER.debug("%s: no lock (%s)", folder, error)
    try:
        yield
    finally:
        lock.release()


class Writer:
    """Context in which this process counts as a writer of a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / f".writer.tmp-{writer_token()}")

    def __enter__(self) -> "Writer":
        with suppress(OSError, RuntimeError):
            self._lock.acquire(timeout=0)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            (self.folder / f".writer.tmp-{writer_token()}").unlink(missing_ok=True)
        self._lock.release()


def living_writers(folder: Path) -> list[str]:
    """Other processes that write to a folder now, as HOST-PID."""
    found = []
    for path in folder.glob(".writer.tmp-*"):
        match = _WRITER.match(path.name)
        if match and match[1] != writer_token() and _is_alive(path, match[2], int(match[3])):
            found.append(match[1])
    return sorted(found)


def is_temporary(path: Path) -> bool:
    """Whether a file's name is that of a file while it is written, of a writer or of the lock."""
    name = path.name
    return name == LOCK or bool(_TEMPORARY.match(name) or _WRITER.match(name))


def sweep_temporary_files(folder: Path) -> list[Path]:
    """Remove temporary files whose writer is dead; returns those."""
    removed = []
    for path in folder.glob(".*.tmp-*"):
        match = _TEMPORARY.match(path.name) or _WRITER.match(path.name)
        if match is None or _is_alive(path, match[2], int(match[3])):
            continue
        path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def _is_alive(path: Path, host: str, pid: int) -> bool:
    """Whether the writer of a temporary file may still be at work."""
    mark, written = path.parent / f".writer.tmp-{host}-{pid}", None
    with suppress(OSError):
        written = path.stat().st_mtime
    if host != host_mark():
        is_young = written is not None and time.time() - written < _FOREIGN_AGE_S
        return is_young or _is_locked(mark)
    if pid == os.getpid():
        return True
    if not _is_running(pid):
        return False
    # The process of that number may be another by now: one that began after the file was written.
    started = _start_time(pid)
    if started is None:
        return _is_locked(mark)
    return written is None or started <= written + _CLOCK_S


def _start_time(pid: int) -> float | None:
    """When a process began, seconds since the epoch; None where the system does not tell."""
    try:
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        lines = Path("/proc/stat").read_text().splitlines()
        boot = next(int(line.split()[1]) for line in lines if line.startswith("btime "))
        return boot + ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, StopIteration):
        return None


def _is_locked(path: Path) -> bool:
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except (OSError, RuntimeError):
        return True
    lock.release()
    return False


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
