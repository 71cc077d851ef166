"""The manifest of a cache: one line per clip.

Each line of `manifest.jsonl` holds the clip's id, sha256, fingerprint, split and counts; the last
line of an id is the valid one. `line` is the SHA-256 of the rest of the line: a line that was
damaged is ignored. `before` is the SHA-256 of the file that this clip replaces: a writer that is
killed leaves one of the two.
"""

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from pipeline.datasets.ids import is_safe_id
from pipeline.runtime.files import append_line, file_sha256, json_sha256, write_atomically
from pipeline.runtime.writers import folder_lock, living_writers

MANIFEST = "manifest.jsonl"
Row = dict[str, Any]


def append_manifest(folder: Path, row: Row) -> None:
    """Add the line of one finished clip."""
    with folder_lock(folder):
        append_row(folder, row)


def append_row(folder: Path, row: Row) -> None:
    """Add a line while the folder's lock is held."""
    append_line(folder / MANIFEST, _line(row))


def is_known_file(path: Path, row: Row) -> bool:
    """Whether a file has the bytes of its line, or those of the file that it was to replace."""
    return file_sha256(path) in (row.get("sha256"), row.get("before"))


def settle_manifest(folder: Path, rows: dict[str, Row]) -> None:
    """Finish a run: add lines that are missing; the last writer sorts the manifest.

    Lines can be lost where two writers rewrite the file at once on a file system without locks.
    `rows` are the lines of what this run wrote, by id.
    """
    for video_id in rows.keys() - read_manifest(folder).keys():
        append_manifest(folder, rows[video_id])
    with folder_lock(folder):
        if not living_writers(folder):
            write_manifest(folder, read_manifest(folder))


def write_manifest(folder: Path, rows: dict[str, Row]) -> None:
    """Replace the manifest by one line per id, sorted."""
    path = folder / MANIFEST
    data = "".join(_line(rows[video_id]) + "\n" for video_id in sorted(rows)).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_manifest(folder: Path) -> dict[str, Row]:
    """Id -> its last line; damaged lines and unsafe ids are ignored."""
    return Manifest(folder).rows()


class Manifest:
    """The manifest of a folder to which others may write; reads only what was added."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST
        self._rows: dict[str, Row] = {}
        self._file, self._read = (0, 0), 0

    def rows(self) -> dict[str, Row]:
        """Id -> its last line, as of now."""
        try:
            with open(self._path, "rb") as file:
                found = os.fstat(file.fileno())
                if (found.st_dev, found.st_ino) != self._file or found.st_size < self._read:
                    self._file, self._read, self._rows = (found.st_dev, found.st_ino), 0, {}
                file.seek(self._read)
                data = file.read()
        except FileNotFoundError:
            return {}
        whole = data.rfind(b"\n") + 1
        self._read += whole
        # A last line without its end counts, and is read again: it may be cut off just now.
        for line in data.decode("utf-8", "replace").splitlines():
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                row = json.loads(line)
                # A manifest from elsewhere could name a file outside the folder.
                if row.pop("line") == json_sha256(row) and is_safe_id(row["id"]):
                    self._rows[row["id"]] = row
        return self._rows


def _line(row: Row) -> str:
    return json.dumps(row | {"line": json_sha256(row)}, sort_keys=True)
