"""A folder of cached clips: what they have in common, and a line for each.

cache.json        schema, settings that determine content, detector, vocabulary, action classes
manifest.jsonl    one line per file: id, sha256, fingerprint, counts; the last line of an id counts.
                  `line` is the sha256 of the rest of a line: one that changed since is passed over
                  `before` is the sha256 of the file that this one replaces: a writer that is killed
                  leaves one of the two
ID.safetensors    the clips
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.cache.clip import CachedClip, clip_bytes
from pipeline.errors import UsageError
from pipeline.runtime.files import (
    append_line,
    file_sha256,
    json_sha256,
    publish,
    write_atomically,
    write_json,
    write_temporary,
)
from pipeline.runtime.writers import folder_lock, living_writers

FOLDER_SCHEMA = "laiar.cache/1"
MANIFEST = "manifest.jsonl"


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

    def to_dict(self) -> dict[str, Any]:
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
    def from_dict(cls, tree: dict[str, Any]) -> "CacheInfo":
        """Inverse of `to_dict`."""
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
        if tree.pop("sha256", None) != json_sha256(tree):
            raise UsageError(
                f"{path}: what pipeline.extract wrote expected, it changed since; "
                "restore it, or extract again into an empty folder"
            )
        return CacheInfo.from_dict(tree)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise UsageError(
            f"{path}: a {FOLDER_SCHEMA} file expected: {error!r}; extract again"
        ) from error


def write_cache_info(folder: Path, info: CacheInfo) -> None:
    """Write `cache.json`, with a checksum of its own: no manifest covers it."""
    tree = info.to_dict()
    write_json(folder / "cache.json", tree | {"sha256": json_sha256(tree)})


def append_manifest(folder: Path, row: dict[str, Any]) -> None:
    """Add the line of one finished file."""
    with folder_lock(folder):
        append_line(folder / MANIFEST, _line(row))


def store_clip(folder: Path, clip: CachedClip) -> dict[str, Any]:
    """Write a clip and its line.

    Returns:
        The line.

    Raises:
        OSError: if the disk is full or the folder is not writable; the clip that was there, if
            any, still is.
        ItemError: if the clip holds numbers that cannot be stored (`clip_bytes`).
    """
    data = clip_bytes(clip)
    row = {
        "id": clip.video_id,
        "sha256": hashlib.sha256(data).hexdigest(),
        "fingerprint": clip.header.fingerprint,
        "bytes": len(data),
        "frames": clip.num_frames,
        "boxes": len(clip.boxes),
        "pairs": len(clip.pairs),
    }
    path = clip_path(folder, clip.video_id)
    temporary = write_temporary(path, data)
    with folder_lock(folder):
        try:
            publish(temporary, path)
        except FileNotFoundError:  # taken for a dead writer's, and swept
            write_atomically(path, data)
        append_line(folder / MANIFEST, _line(row))
    return row


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
    with folder_lock(folder):
        new = row | {"sha256": digest, "bytes": len(data), "before": file_sha256(path)}
        append_line(folder / MANIFEST, _line(new))
        write_atomically(path, data)
    return new


def is_known_file(path: Path, row: dict[str, Any]) -> bool:
    """Whether a file has the bytes of its line, or those of the file it was to replace."""
    return file_sha256(path) in (row.get("sha256"), row.get("before"))


def settle_manifest(folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    """End a run: every line of `rows` is there; once nobody else writes, one line per id, sorted.

    Lines can be lost where two writers rewrote the file at once on a file system without locks.

    Args:
        folder: the cache.
        rows: id -> line of what this run wrote.
    """
    for video_id in rows.keys() - read_manifest(folder).keys():
        append_manifest(folder, rows[video_id])
    with folder_lock(folder):
        if not living_writers(folder):
            write_manifest(folder, read_manifest(folder))


def write_manifest(folder: Path, rows: dict[str, dict[str, Any]]) -> None:
    """Replace the manifest by one line per id, sorted."""
    path = folder / MANIFEST
    data = "".join(_line(rows[video_id]) + "\n" for video_id in sorted(rows)).encode()
    if not path.is_file() or path.read_bytes() != data:
        write_atomically(path, data)


def read_manifest(folder: Path) -> dict[str, dict[str, Any]]:
    """Id -> its last line; one that is torn (a killed writer) or changed since is passed over."""
    return Manifest(folder).rows()


class Manifest:
    """The manifest of a folder to which others may write; reads only what was added."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / MANIFEST
        self._rows: dict[str, dict[str, Any]] = {}
        self._file, self._read = (0, 0), 0

    def rows(self) -> dict[str, dict[str, Any]]:
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
                if row.pop("line") == json_sha256(row):
                    self._rows[str(row["id"])] = row
        return self._rows


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row | {"line": json_sha256(row)}, sort_keys=True)
