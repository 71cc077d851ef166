"""A folder of cached clips: what they have in common, and a line for each.

cache.json        schema, settings that determine content, detector, vocabulary, action classes
manifest.jsonl    one line per file: id, sha256, fingerprint, counts; the last line of an id counts.
                  `before` is the sha256 of the file that this one replaces: a writer that is killed
                  leaves one of the two
ID.safetensors    the clips
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cache import CachedClip, clip_bytes
from pipeline.errors import UsageError
from pipeline.files import file_sha256, write_atomically, write_json

FOLDER_SCHEMA = "laiar.cache/1"


@dataclass(frozen=True)
class CacheInfo:
    """What all clips of a cache share.

    Attributes:
        settings: everything of the config that determines content (`extraction_settings`).
        detector: identity and settings of the detector.
        objects: O object class names; predicate_groups: group -> names.
        classes: (id, name) of the C actions; empty when no annotations were given.
    """

    settings: dict[str, Any]
    detector: dict[str, Any]
    objects: tuple[str, ...]
    predicate_groups: dict[str, tuple[str, ...]]
    classes: tuple[tuple[str, str], ...] = ()

    def to_tree(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "schema": FOLDER_SCHEMA,
            "settings": self.settings,
            "detector": self.detector,
            "objects": list(self.objects),
            # Pairs, not a mapping: the order of the groups numbers the predicates.
            "predicate_groups": [[g, list(names)] for g, names in self.predicate_groups.items()],
            "classes": [list(row) for row in self.classes],
        }

    @classmethod
    def from_tree(cls, tree: dict[str, Any]) -> "CacheInfo":
        """Inverse of `to_tree`."""
        return cls(
            tree["settings"],
            tree["detector"],
            tuple(tree["objects"]),
            {group: tuple(names) for group, names in tree["predicate_groups"]},
            tuple((row[0], row[1]) for row in tree["classes"]),
        )


def clip_path(folder: Path, video_id: str) -> Path:
    """Where a clip of that id lies."""
    return folder / f"{video_id}.safetensors"


def read_cache_info(folder: Path) -> CacheInfo:
    """Read `cache.json`.

    Raises:
        UsageError: if the folder is no cache, or of another schema.
    """
    path = folder / "cache.json"
    if not path.is_file():
        raise UsageError(
            f"--cache: a folder written by pipeline.extract expected, {folder} has no cache.json; "
            "run: python -m pipeline.extract --videos DIR --cache DIR"
        )
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        if tree["schema"] != FOLDER_SCHEMA:
            raise UsageError(
                f"{path}: schema {FOLDER_SCHEMA} expected, got {tree['schema']}; extract again"
            )
        return CacheInfo.from_tree(tree)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{path}: a {FOLDER_SCHEMA} file expected: {error!r}; extract again"
        ) from error


def write_cache_info(folder: Path, info: CacheInfo) -> None:
    """Write `cache.json`."""
    write_json(folder / "cache.json", info.to_tree())


def append_manifest(folder: Path, row: dict[str, Any]) -> None:
    """Add the line of one finished file."""
    with open(folder / "manifest.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(row, sort_keys=True) + "\n")


def replace_clip(folder: Path, clip: CachedClip, row: dict[str, Any]) -> dict[str, Any]:
    """Put a clip in the place of one that is there.

    The line comes first and names both files, so that whenever the writer is killed a whole clip
    remains that the manifest knows.

    Args:
        folder: the cache.
        clip: the same video's, with more in it.
        row: last line of the clip that is there.

    Returns:
        The new line.
    """
    data = clip_bytes(clip)
    path = clip_path(folder, clip.video_id)
    digest = hashlib.sha256(data).hexdigest()
    new = row | {"sha256": digest, "bytes": len(data), "before": file_sha256(path)}
    append_manifest(folder, new)
    write_atomically(path, data)
    return new


def is_known_file(path: Path, row: dict[str, Any]) -> bool:
    """Whether a file has the bytes of its line, or those of the file it was to replace."""
    return file_sha256(path) in (row.get("sha256"), row.get("before"))


def write_manifest(folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Replace the manifest by one line per id."""
    lines = [json.dumps(row, sort_keys=True) + "\n" for row in rows.values()]
    write_atomically(folder / "manifest.jsonl", "".join(lines).encode())


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Id -> its last line; a torn last line (a killed writer) is passed over."""
    rows: dict[str, dict[str, Any]] = {}
    path = folder / "manifest.jsonl"
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                row = json.loads(line)
                rows[row["id"]] = row
            except (ValueError, KeyError, TypeError):
                continue
    return rows
