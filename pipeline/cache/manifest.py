"""Manifest of a cache, with one line per clip.

Each line of `manifest.jsonl` contains the id, sha256, fingerprint, split and counts of a clip. The
last line of an id is valid; earlier lines of this id are ignored. The field `line` is the SHA-256
of all other fields. If it does not match these fields, the line is damaged and ignored. The
optional field `before` is the SHA-256 of the file that the clip replaces. If the writer is killed
before the replacement, that file is still valid.
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
    """Append the line of one clip."""
    with folder_lock(folder):
        append_row(folder, row)


def append_row(folder: Path, row: Row) -> None:
    """Append a line. The caller must hold the lock of the folder."""
    append_line(folder / MANIFEST, _line(row))


def is_known_file(path: Path, row: Row) -> bool:
    """Return whether the SHA-256 of a file is `sha256` or `before` of its manifest line."""
    return file_sha256(path) in (row.get("sha256"), row.get("before"))


def settle_manifest(folder: Path, rows: dict[str, Row]) -> None:
    """Append missing lines at the end of a run, and sort the manifest if it has no other writer.

    Lines can be missing if two writers replaced the manifest at the same time on a file system
    without locks.

    Args:
        folder: folder of the cache.
        rows: manifest lines of the clips that this run wrote, by id.
    """
    for video_id in rows.keys() - read_manifest(folder).keys():
        append_manifest(folder, rows[video_id])
    with folder_lock(folder):
        if not living_writers(folder):
            write_manifest(folder, read_manifest(folder))


def write_manifest(folder: Path, rows: dict[str, Row]) -> None:
    """Replace the manifest by one line per id, sorted by id."""
    path = folder / MANIFEST
    data = "".join(_line(rows[video_id]) + "\n" for video_id in sorted(rows)).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_manifest(folder: Path) -> dict[str, Row]:
    """Return the last line of each id, ignoring damaged lines and lines with unsafe ids."""
    return Manifest(folder).rows()


class Manifest:
    """Manifest of a folder to which other processes may write.

    Repeated reads load only the lines that were appended since the previous read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST
        self._rows: dict[str, Row] = {}
        self._file, self._read = (0, 0), 0

    def rows(self) -> dict[str, Row]:
        """Read the manifest and return the last line of each id."""
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
        # A line without a line feed may be incomplete. It is used if valid, and read again later.
        for line in data.decode("utf-8", "replace").splitlines():
            with suppress(ValueError, KeyError, TypeError, AttributeError, RecursionError):
                row = json.loads(line)
                # A manifest from another source could refer to a file outside the folder.
                if row.pop("line") == json_sha256(row) and is_safe_id(row["id"]):
                    self._rows[row["id"]] = row
        return self._rows


def _line(row: Row) -> str:
    return json.dumps(row | {"line": json_sha256(row)}, sort_keys=True)
