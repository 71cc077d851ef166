"""Manifest of a cache, with one line per clip.

Each line of `manifest.jsonl` contains a `ManifestRow`. The last line of an id is valid; earlier
lines of this id are ignored. The field `line` is the SHA-256 of all other fields. If it does not
match these fields, or a field is missing or has the wrong type, the line is damaged and ignored.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from pipeline.config.typed_json import TypedJson
from pipeline.datasets.ids import is_safe_id
from pipeline.runtime.files import json_sha256
from pipeline.runtime.row_files import RowFile

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


class Manifest(RowFile[ManifestRow]):
    """Manifest of a cache.

    Args:
        folder: folder of the cache.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / MANIFEST)

    def parse(self, tree: Any) -> ManifestRow:
        """Convert the JSON of a line, which contains its own SHA-256, to a row."""
        # A manifest from another source could refer to a file outside the folder.
        if tree.pop("line") != json_sha256(tree) or not is_safe_id(tree["id"]):
            raise ValueError("an undamaged line with a safe id expected")
        return ManifestRow.from_dict(tree)

    def tree(self, row: ManifestRow) -> dict[str, Any]:
        """Return the JSON of the line of a row."""
        tree = row.to_dict()
        return tree | {"line": json_sha256(tree)}


def read_manifest(folder: Path) -> dict[str, ManifestRow]:
    """Return the last row of each id, ignoring damaged lines and lines with unsafe ids."""
    return Manifest(folder).rows()
