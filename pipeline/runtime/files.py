"""Atomic writes, SHA-256 and JSON files."""

import contextlib
import hashlib
import json
import os
import secrets
import socket
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError


@cache
def host_mark() -> str:
    """Return eight hex digits that identify the host name and the PID namespace."""
    space = ""
    with contextlib.suppress(OSError):
        space = os.readlink("/proc/self/ns/pid")
    return hashlib.sha256(f"{socket.gethostname()}/{space}".encode()).hexdigest()[:8]


def writer_token() -> str:
    """Return the HOST-PID of this process, which is part of its temporary file names."""
    return f"{host_mark()}-{os.getpid()}"


def write_temporary(path: Path, data: bytes) -> Path:
    """Write and fsync a temporary file in the folder of `path`.

    Args:
        path: final path of the file.
        data: content of the file.

    Returns:
        Path of the temporary file, to pass to `publish`.

    Raises:
        OSError: if the file cannot be written. The temporary file is removed.
    """
    temporary = path.parent / f".{path.name}.tmp-{writer_token()}-{secrets.token_hex(4)}"
    with _removed_on_error(temporary), open(temporary, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    return temporary


def publish(temporary: Path, path: Path) -> None:
    """Rename a temporary file, replacing an existing file, and fsync the folder.

    Raises:
        OSError: if the file cannot be renamed. The temporary file is removed.
    """
    with _removed_on_error(temporary):
        os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a temporary file in the same folder, fsync it, rename it and fsync the folder.

    Raises:
        OSError: if the file cannot be written. The temporary file is removed, and an existing file
            is unchanged.
    """
    try:
        publish(write_temporary(path, data), path)
    except FileNotFoundError:
        # Without working locks, another host may have removed the temporary file as stale.
        if not path.parent.is_dir():
            raise
        publish(write_temporary(path, data), path)


def append_line(path: Path, line: str) -> None:
    """Append a line to a file in one write.

    If the file does not end with a line feed, one is written before the new line.

    Raises:
        OSError: if the line cannot be written completely.
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
    """Write indented JSON atomically.

    Raises:
        ValueError: if the tree contains NaN or infinity.
        OSError: if the file cannot be written.
    """
    write_atomically(path, json_bytes(tree))


def json_bytes(tree: Any) -> bytes:
    """Return indented JSON with sorted keys.

    Raises:
        ValueError: if the tree contains NaN or infinity.
    """
    text = json.dumps(tree, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    # A path may be invalid UTF-8; its invalid bytes become JSON escapes such as \udcff.
    return (text + "\n").encode("utf-8", "backslashreplace")


def file_state(path: Path) -> tuple[int, int, int] | None:
    """Return the state of a file, which changes when the file is written.

    Returns:
        Inode, size and modification time in nanoseconds, or None if the file does not exist.
    """
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def make_folder(path: Path, flag: str) -> None:
    """Create a folder if it does not exist.

    Args:
        path: the folder.
        flag: command-line flag of the folder, used in the error message.

    Raises:
        UsageError: if the folder cannot be created.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{flag}: a writable folder expected, got {path}: {error}") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes as hex digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_int(tree: Any) -> int:
    """Return a seed from 0 to 2^63 - 1 that is derived from the SHA-256 of a JSON tree."""
    return int(json_sha256(tree)[:16], 16) >> 1


def json_sha256(tree: Any) -> str:
    """Return the SHA-256 of a tree's JSON, with sorted keys and no spaces, as hex digits."""
    text = json.dumps(tree, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


@contextlib.contextmanager
def _removed_on_error(temporary: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
