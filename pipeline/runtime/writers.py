"""Locks and leftover temporary files of folders to which several processes write.

.writer.tmp-HOST-PID     locked by a process as long as it writes to the folder
.lock                    locked while a file with one line per item is changed
.run.lock                locked by a training command as long as it uses the run folder
.NAME.tmp-HOST-PID-HEX   temporary file; it is renamed to NAME when it is complete

Locks only prevent duplicate work. Files are correct even on file systems where locks have no
effect, because a file is complete before it is renamed, and all writers write identical bytes.
"""

import logging
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UsageError
from pipeline.runtime.files import host_mark, writer_token

LOGGER = logging.getLogger(__name__)
_TEMPORARY = re.compile(r"^\..+\.tmp-(([0-9a-f]{8})-(\d+))-[0-9a-f]{8}$")
_WRITER = re.compile(r"^\.writer\.tmp-(([0-9a-f]{8})-(\d+))$")
#: Age in seconds at which a temporary file of another host is regarded as stale. The processes of
#: other hosts are not visible, and a file has its temporary name only while it is written.
_FOREIGN_AGE_S = 600.0
#: Longest wait for a lock, in seconds.
_PATIENCE_S = 60.0
#: Tolerance between process start times and file times, in seconds.
_CLOCK_S = 2.0
LOCK, RUN_LOCK = ".lock", ".run.lock"


@contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder while changing a file that other processes also change.

    If the lock cannot be acquired within a minute, the context runs without it.
    """
    lock = FileLock(folder / LOCK, timeout=_PATIENCE_S)
    try:
        lock.acquire()
    except (OSError, RuntimeError) as error:
        LOGGER.debug("%s: not locked (%s)", folder, error)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def only_command(folder: Path) -> Iterator[None]:
    """Prevent that two training commands use one run folder at the same time.

    The folder is created if it does not exist. On a file system without locks, the context has no
    effect.

    Raises:
        UsageError: if another command uses the folder, or the folder cannot be created.
    """
    path = folder / RUN_LOCK
    lock = FileLock(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"--run: another command uses {folder}; wait until it ends, or use another --run"
        ) from error
    except FileExistsError as error:
        raise UsageError(f"--run: a folder expected, {folder} is a file") from error
    except (OSError, RuntimeError) as error:
        LOGGER.debug("%s: not locked (%s)", folder, error)
    try:
        yield
    finally:
        if lock.is_locked:
            path.unlink(missing_ok=True)
        lock.release()


class Writer:
    """Context manager that registers this process as a writer of a folder."""

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
    """Return the HOST-PID of all other processes that write to a folder, sorted."""
    found = []
    for path in folder.glob(".writer.tmp-*"):
        match = _WRITER.match(path.name)
        if match and match[1] != writer_token() and _is_alive(path, match[2], int(match[3])):
            found.append(match[1])
    return sorted(found)


def is_temporary(path: Path) -> bool:
    """Return whether a file is a temporary file, the marker file of a writer or the lock file."""
    name = path.name
    return name in (LOCK, RUN_LOCK) or bool(_TEMPORARY.match(name) or _WRITER.match(name))


def sweep_temporary_files(folder: Path) -> list[Path]:
    """Remove the temporary files of writers that have ended, and return their paths."""
    removed = []
    for path in folder.glob(".*.tmp-*"):
        match = _TEMPORARY.match(path.name) or _WRITER.match(path.name)
        if match is None or _is_alive(path, match[2], int(match[3])):
            continue
        path.unlink(missing_ok=True)
        removed.append(path)
    return removed


def _is_alive(path: Path, host: str, pid: int) -> bool:
    """Return whether the writer of a temporary file may still be running."""
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
    # The PID may have been reused. A process that started after the file was written is not its
    # writer.
    started = _start_time(pid)
    if started is None:
        return _is_locked(mark)
    return written is None or started <= written + _CLOCK_S


def _start_time(pid: int) -> float | None:
    """Return the start time of a process in seconds since the epoch, or None if unknown."""
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
