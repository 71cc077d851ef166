"""Folder of cached clips.

cache.json        properties of all clips (settings, detector, vocabulary, action classes)
manifest.jsonl    one line per clip (`pipeline.cache.manifest`)
ID.safetensors    one clip
"""

import hashlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pipeline.cache.clip import CachedClip, clip_bytes
from pipeline.cache.manifest import Manifest, ManifestRow
from pipeline.config.ranges import check_values, one_of
from pipeline.config.schema import Backend, Boxes, DecodeConfig, FramesConfig, UnionKind
from pipeline.config.typed_json import TypedJson, parse_json
from pipeline.errors import UsageError
from pipeline.runtime.files import (
    file_sha256,
    json_sha256,
    publish,
    write_atomically,
    write_json,
    write_temporary,
)
from pipeline.runtime.writers import folder_lock


@dataclass(frozen=True)
class ExtractionSettings(TypedJson):
    """Settings that determine the content of clips, without the settings of the detector.

    Attributes:
        boxes: `detected` or `ground-truth`.
        union: stored part of the union features, `full`, `conv256` or `none`.
        backend: video decoder (`decode.backend`).
        fps: frame rate of dumped frames (`decode.fps`), or None.
        tolerant: True if damaged videos are accepted (`decode.tolerant`).
        frames: number of uniform frames per video (`frames.num`), used with detected boxes.
        vocabulary: name of the vocabulary.
        objects: SHA-256 of the object classes of the vocabulary.
        pairs: names of the kinds of pairs, or None if the vocabulary has none.
        occluded: True if pairs with an invisible box are used, otherwise None.
        features: `none` for a cache without features, otherwise None.
    """

    #: Settings that are stored only if they are not None, as caches of earlier versions lack them.
    ADDED: ClassVar[tuple[str, ...]] = ("pairs", "occluded", "features")

    boxes: str = one_of("detected", Boxes.__members__)
    union: str = one_of("full", UnionKind.__members__)
    backend: str = one_of("pyav", Backend.__members__)
    fps: float | None = None
    tolerant: bool = False
    frames: int = 32
    vocabulary: str = "action_genome"
    objects: str = ""
    pairs: tuple[str, ...] | None = None
    occluded: bool | None = None
    features: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        tree = super().to_dict()
        return {k: v for k, v in tree.items() if k not in self.ADDED or v is not None}

    def __post_init__(self) -> None:
        check_values(DecodeConfig, {"fps": self.fps}, "")
        check_values(FramesConfig, {"num": self.frames}, "frames.")


@dataclass(frozen=True)
class LabelledVideo(TypedJson):
    """Labelled sample of a dataset, a video or a clip of a video.

    Attributes:
        id: id of the sample.
        actions: columns of its actions, increasing.
        has_frames: whether the video has annotated frames.
        subject: id of the filmed person, if folds determine the split. Otherwise None.
    """

    SPARSE: ClassVar[bool] = True

    id: str
    actions: tuple[int, ...]
    has_frames: bool
    subject: str | None = None


@dataclass(frozen=True)
class CacheInfo(TypedJson):
    """Properties that all clips of a cache share, stored in `cache.json`.

    Attributes:
        settings: settings of the extraction.
        detector: result of `ResolvedDetector.to_dict`.
        objects: names of the O object classes.
        predicate_groups: maps each predicate group to the names of its predicates.
        classes: (id, name) of the C actions. It is empty if no annotations were provided.
        test_videos: labelled test videos of the dataset, also those without a clip. With folds,
            all labelled samples.
        folds: mapping from the name of a fold to its test subjects; empty without folds.

    Raises:
        ValueError: if an object class or the id of an action is listed twice.
    """

    SCHEMA: ClassVar[str] = "laiar.cache/1"

    settings: ExtractionSettings
    detector: dict[str, Any]
    objects: tuple[str, ...]
    predicate_groups: dict[str, tuple[str, ...]]
    classes: tuple[tuple[str, str], ...] = ()
    test_videos: tuple[LabelledVideo, ...] = ()
    folds: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the properties as JSON."""
        tree = super().to_dict()
        return tree if self.folds else {k: v for k, v in tree.items() if k != "folds"}

    def __post_init__(self) -> None:
        ids = [class_id for class_id, _ in self.classes]
        for name, names in (("objects", self.objects), ("classes", ids)):
            if len(set(names)) < len(names):
                raise ValueError(f"{name}: unique names expected, got a duplicate")


def clip_path(folder: Path, video_id: str) -> Path:
    """Return the path of the clip of a video."""
    return folder / f"{video_id}.safetensors"


def read_cache_info(folder: Path) -> CacheInfo:
    """Read `cache.json`.

    Raises:
        UsageError: if the folder has no valid `cache.json` of this schema.
    """
    tree = read_cache_json(folder)
    try:
        return CacheInfo.from_dict(tree)
    except ValueError as error:
        raise _not_a_cache(folder / "cache.json", error) from error


def read_cache_json(folder: Path) -> dict[str, Any]:
    """Read `cache.json` as a JSON object.

    Raises:
        UsageError: if the file is missing, damaged or changed by hand, or if its schema is unknown.
    """
    path = folder / "cache.json"
    if not path.is_file():
        raise UsageError(
            f"--cache: cache.json not found in {folder}. Create a cache with: "
            "python -m pipeline.extract --videos DIR --cache DIR"
        )
    try:
        tree = parse_json(path.read_bytes())
        if not isinstance(tree, dict):
            raise ValueError(f"a JSON object expected, got {type(tree).__name__}")
        if tree.get("schema") != CacheInfo.SCHEMA:
            raise ValueError(f"got schema {str(tree.get('schema'))[:80]}")
        if tree.pop("sha256", None) != json_sha256(tree):
            raise UsageError(
                f"{path}: the content does not match the checksum in the file. "
                "Restore it, or extract again into an empty folder"
            )
        return tree
    except (OSError, ValueError) as error:
        raise _not_a_cache(path, error) from error


def write_cache_info(folder: Path, info: CacheInfo) -> None:
    """Write `cache.json` with a checksum of its content.

    The file contains its own checksum, because the manifest does not list it.
    """
    tree = info.to_dict()
    write_json(folder / "cache.json", tree | {"sha256": json_sha256(tree)})


def store_clip(folder: Path, clip: CachedClip) -> ManifestRow:
    """Write a clip file and append its manifest line.

    Returns:
        The manifest line.

    Raises:
        OSError: if the disk is full or the folder is not writable. An existing clip file of the
            video is kept.
        ItemError: INTERNAL_ERROR if the clip contains values that cannot be stored as float16, see
            `clip_bytes`.
    """
    data = clip_bytes(clip)
    row = ManifestRow(
        clip.video_id,
        sha256=hashlib.sha256(data).hexdigest(),
        fingerprint=clip.header.fingerprint,
        bytes=len(data),
        frames=clip.num_frames,
        boxes=len(clip.boxes),
        pairs=len(clip.pairs),
        split=clip.header.split,
    )
    path = clip_path(folder, clip.video_id)
    temporary = write_temporary(path, data)
    with folder_lock(folder):
        try:
            publish(temporary, path)
        except FileNotFoundError:  # another process removed it as a leftover temporary file
            write_atomically(path, data)
        Manifest(folder).append_locked(row)
    return row


def replace_clip(folder: Path, clip: CachedClip, row: ManifestRow) -> ManifestRow:
    """Replace a cached clip by another clip of the same video.

    The manifest line is written before the clip file and contains the SHA-256 of the old and of
    the new file. If the writer is killed in between, the old file remains and still matches the
    line.

    Args:
        folder: folder of the cache.
        clip: the new clip.
        row: current manifest line of the clip.

    Returns:
        The new manifest line.
    """
    data = clip_bytes(clip)
    path = clip_path(folder, clip.video_id)
    sha256, split = hashlib.sha256(data).hexdigest(), clip.header.split
    with folder_lock(folder):
        before = file_sha256(path)
        new = replace(row, sha256=sha256, bytes=len(data), split=split, before=before)
        Manifest(folder).append_locked(new)
        write_atomically(path, data)
    return new


def _not_a_cache(path: Path, error: Exception) -> UsageError:
    return UsageError(f"{path}: a {CacheInfo.SCHEMA} file expected: {error}; extract again")
