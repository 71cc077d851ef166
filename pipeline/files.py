"""Writing that leaves nothing half done, hashing, and plain JSON files."""

import contextlib
import hashlib
import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: bytes) -> None:
    """Write to a temporary name in the same folder, fsync, rename, fsync the folder.

    Raises:
        OSError: if it cannot be written; neither the file nor the temporary one is left then.
    """
    temporary = path.parent / f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def write_json(path: Path, tree: Any) -> None:
    """Write indented JSON atomically; NaN and infinity are refused by ValueError."""
    text = json.dumps(tree, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomically(path, (text + "\n").encode())


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
