"""Manifest of a cache, with one line per clip.

Each line of `manifest.jsonl` contains a `ManifestRow`. The last line of an id is valid; earlier
lines of this id are ignored. The field `line` is the SHA-256 of all other fields. If it does not
match these fields, or a field is missing or has the wrong type, the line is damaged and ignored.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pipeline.config.typed_json import TypedJson
from pipeline.datasets.ids import is_safe_id
from pipeline.runtime.files import append_line, json_sha256, write_atomically
from pipeline.runtime.writers import folder_lock, living_writers

MANIFEST = "manifest.jsonl"
#: Split of a clip whose line has no split, which earlier versions wrote.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class ManifestRow(TypedJson):
    """Manifest line of a clip.

    Attributes:
        id: id of the video.
        sha256: SHA-256 of the clip file.
        fingerprint: fingerprint of the clip (`ClipHeader.fingerprint`).
        bytes: size of the clip file in bytes.
        frames, boxes, pairs: numbers of frames, boxes and pairs.
        split: split of the clip; None if it has no split, `unknown` if the line contains none.
        before: SHA-256 of the file that the clip replaces, or None. If the writer is killed before
            the replacement, that file is still valid.
        other: fields of later versions, which are kept when the manifest is rewritten.
    """

    id: str
    sha256: str
    fingerprint: str
    bytes: int
    frames: int
    boxes: int
    pairs: int
    split: str | None = UNKNOWN
    before: str | None = None
    other: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields of the line."""
        tree = super().to_dict()
        other: dict[str, Any] = tree.pop("other")
        if self.split == UNKNOWN:
            del tree["split"]
        if self.before is None:
            del tree["before"]
        return other | tree

    @classmethod
    def from_dict(cls, tree: Any) -> "ManifestRow":
        """See `TypedJson.from_dict`. Other fields are kept in `other`."""
        names = {f.name for f in fields(cls)} - {"other"}
        row = super().from_dict({k: v for k, v in tree.items() if k in names})
        return replace(row, other={k: v for k, v in tree.items() if k not in names})


def append_row(folder: Path, row: ManifestRow) -> None:
    """Append a line. The caller must hold the lock of the folder."""
    append_line(folder / MANIFEST, _line(row))


def settle_manifest(folder: Path, rows: dict[str, ManifestRow]) -> None:
    """Append missing lines at the end of a run, and sort the manifest if it has no other writer.

    Lines can be missing if two writers replaced the manifest at the same time on a file system
    without locks.

    Args:
        folder: folder of the cache.
        rows: manifest lines of the clips that this run wrote, by id.
    """
    with folder_lock(folder):
        for video_id in rows.keys() - read_manifest(folder).keys():
            append_row(folder, rows[video_id])
        if not living_writers(folder):
            write_manifest(folder, read_manifest(folder))


def write_manifest(folder: Path, rows: dict[str, ManifestRow]) -> None:
    """Replace the manifest by one line per id, sorted by id."""
    path = folder / MANIFEST
    data = "".join(_line(rows[video_id]) + "\n" for video_id in sorted(rows)).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_manifest(folder: Path) -> dict[str, ManifestRow]:
    """Return the last line of each id, ignoring damaged lines and lines with unsafe ids."""
    return Manifest(folder).rows()


class Manifest:
    """Manifest of a folder to which other processes may write.

    Repeated reads load only the lines that were appended since the previous read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST
        self._rows: dict[str, ManifestRow] = {}
        self._file, self._read = (0, 0), 0

    def rows(self) -> dict[str, ManifestRow]:
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
                tree = json.loads(line)
                # A manifest from another source could refer to a file outside the folder.
                if tree.pop("line") == json_sha256(tree) and is_safe_id(tree["id"]):
                    row = ManifestRow.from_dict(tree)
                    self._rows[row.id] = row
        return self._rows


def _line(row: ManifestRow) -> str:
    tree = row.to_dict()
    return json.dumps(tree | {"line": json_sha256(tree)}, sort_keys=True)
