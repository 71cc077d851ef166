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
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UsageError
from pipeline.runtime.files import host_mark, make_folder, writer_token

LOGGER = logging.getLogger(__name__)
#: Name of a temporary file or of the marker file of a writer.
_TEMPORARY = re.compile(r"^\..+\.tmp-(([0-9a-f]{8})-(\d{1,9}))(-[0-9a-f]{8})?$")
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
    make_folder(folder, "--run")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(
            f"--run: another command uses {folder}; wait until it ends, or use another --run"
        ) from error
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
        self._mark = folder / f".writer.tmp-{writer_token()}"
        self._lock = FileLock(self._mark)

    def __enter__(self) -> "Writer":
        with suppress(OSError, RuntimeError):
            self._lock.acquire(timeout=0)
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._mark.unlink(missing_ok=True)
        self._lock.release()


def living_writers(folder: Path) -> list[str]:
    """Return the HOST-PID of all other processes that write to a folder, sorted."""
    names = [(path, _TEMPORARY.match(path.name)) for path in folder.glob(".writer.tmp-*")]
    found = [name[1] for path, name in names if name and _is_alive(path, name[2], int(name[3]))]
    return sorted(token for token in found if token != writer_token())


def is_temporary(path: Path) -> bool:
    """Return whether a file is a temporary file, the marker file of a writer or the lock file."""
    return path.name in (LOCK, RUN_LOCK) or bool(_TEMPORARY.match(path.name))


def sweep_temporary_files(folder: Path) -> list[Path]:
    """Remove the temporary files of writers that have ended, and return their paths."""
    removed = []
    for path in folder.glob(".*.tmp-*"):
        name = _TEMPORARY.match(path.name)
        if name and not _is_alive(path, name[2], int(name[3])):
            path.unlink(missing_ok=True)
            removed.append(path)
    return removed


def _is_alive(path: Path, host: str, pid: int) -> bool:
    """Return whether the writer of a temporary file may still be running.

    A process of this host that started after the file was written has the PID of an ended writer.
    The processes of other hosts and, without /proc, the start times of processes are not visible.
    Such a writer is running while it locks its marker file.
    """
    with suppress(OSError):
        written = path.stat().st_mtime
        is_here = host == host_mark()
        started = _start_time(pid) if is_here else None
        if started is not None:
            return started <= written + _CLOCK_S
        is_young = not is_here and time.time() - written < _FOREIGN_AGE_S
        return is_young or _is_locked(path.parent / f".writer.tmp-{host}-{pid}")
    return False  # the process has ended, or another process has removed the file


def _start_time(pid: int) -> float | None:
    """Return the start time of a process in seconds since the epoch, or None if it is unknown.

    Raises:
        ProcessLookupError: if there is no such process.
    """
    with suppress(PermissionError, FileNotFoundError):  # another user's process; no /proc
        os.kill(pid, 0)
        ticks = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + ticks / os.sysconf("SC_CLK_TCK")
    return None


def _is_locked(path: Path) -> bool:
    with (
        suppress(OSError, RuntimeError),
        FileLock(path, timeout=0) if path.exists() else nullcontext(),
    ):
        return False
    return True
