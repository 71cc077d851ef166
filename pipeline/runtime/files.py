"""Writing that leaves nothing half done, hashing, plain JSON files and files of JSON lines."""

import contextlib
import hashlib
import json
import os
import secrets
import socket
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError


@cache
def host_mark() -> str:
    """Eight hex digits of this machine, or of this container where it numbers its processes."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()}/{space}".encode()).hexdigest()[:8]


def writer_token() -> str:
    """Machine and process that write: HOST-PID, part of the name of every temporary file."""
    return f"{host_mark()}-{os.getpid()}"


def write_temporary(path: Path, data: bytes) -> Path:
    """Write and fsync under a temporary name in the folder of `path`.

    Returns:
        The temporary file, for `publish`.

    Raises:
        OSError: if it cannot be written; no file is left then.
    """
    temporary = path.parent / f".{path.name}.tmp-{writer_token()}-{secrets.token_hex(4)}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except BaseException:
        _remove(temporary)
        raise
    return temporary


def publish(temporary: Path, path: Path) -> None:
    """Give a temporary file its name, in the place of what has it, and fsync the folder.

    Raises:
        OSError: if it cannot; the temporary file is gone then.
    """
    try:
        os.replace(temporary, path)
    except BaseException:
        _remove(temporary)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, fsync, rename, fsync the folder.

    Raises:
        OSError: if it cannot be written; neither the file nor the temporary one is left then.
    """
    try:
        publish(write_temporary(path, data), path)
    except FileNotFoundError:
        # Where locks do not lock, another machine can take the temporary file for left over.
        if not path.parent.is_dir():
            raise
        publish(write_temporary(path, data), path)


def append_line(path: Path, line: str) -> None:
    """Add a line in one write, after a line feed if the last one was cut off.

    Raises:
        OSError: if it cannot be written whole.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        size = os.fstat(descriptor).st_size
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        data = ("\n" if is_torn else "").encode() + line.encode() + b"\n"
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)


def write_json(path: Path, tree: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused by ValueError."""
    text = json.dumps(tree, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    # A path may hold bytes that are no text: \udcff, as JSON escapes them.
    write_atomically(path, (text + "\n").encode("utf-8", "backslashreplace"))


def read_rows(path: Path) -> dict[str, dict[str, Any]]:
    """Objects of a file of JSON lines by their `id`, its last one each; what is none is ignored."""
    rows: dict[str, dict[str, Any]] = {}
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):
                row = json.loads(line)
                rows[str(row["id"])] = row
    return rows


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Inode, size and time of change: other ones after a file was written to; None without one."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def make_folder(path: Path, flag: str) -> None:
    """Create a folder unless it exists; UsageError naming the flag if that is not possible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag}: a writable folder expected, {path}: {error}") from error


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_int(tree: Any) -> int:
    """A number from 0 to 2^63 - 1 that follows from a tree: for seeds."""
    return int(json_sha256(tree)[:16], 16) >> 1


def json_sha256(tree: Any) -> str:
    """SHA-256 of the canonical JSON of a tree, hex."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
