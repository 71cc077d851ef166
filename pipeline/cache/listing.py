"""Usable clips of a cache, and the errors of unusable clips."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from pipeline.cache.clip import ClipHeader
from pipeline.cache.folder import clip_path
from pipeline.cache.manifest import UNKNOWN, ManifestRow, read_manifest
from pipeline.cache.reader import ClipReader
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime.failures import Failure, Failures
from pipeline.runtime.files import file_sha256

_SPLITS = ("train", "test", None)
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class ClipEntry:
    """A usable clip of a cache, or a sample that is a part of it.

    Attributes:
        path: path of the clip file.
        header: header of the clip. The header of a part contains the id and the label of the part.
        relations: relation sources in the file.
        span: indices of the first and the last frame of a part; None for a whole clip.
    """

    path: Path
    header: ClipHeader
    relations: tuple[str, ...] = ()
    span: tuple[int, int] | None = None

    @property
    def video_id(self) -> str:
        """Id of the video, or of the part."""
        return self.header.video_id

    @property
    def source_id(self) -> str:
        """Id of the video."""
        return self.path.stem


def list_clips(
    cache: Path, *, split: str | None = None, verify: bool = False
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the clips of a cache, sorted by id.

    Args:
        cache: folder of the cache.
        split: `train`, `test`, or None for all clips.
        verify: if True, the SHA-256 of every clip is compared with the manifest, in several
            threads. If False, only the size and the header are compared.

    Returns:
        A tuple of the usable clips and a dict from the id of each unusable clip to its error. The
        error is BAD_CACHE if the file is missing, changed, of another schema, or not listed in the
        manifest, or if the last extraction of its video failed. With `split`, the dict contains the
        unusable clips of this split and the unusable clips whose split is unknown.
    """
    manifest, failures = read_manifest(cache), Failures(cache).rows()
    files = [path for path in cache.glob("*.safetensors") if path.stem not in manifest]
    ids = sorted([*manifest, *(path.stem for path in files if path.is_file())])

    def check(video_id: str) -> ClipEntry | ItemError:
        try:
            row = manifest.get(video_id)
            reader = open_clip(cache, video_id, row)
            if verify and (split is None or reader.header.split == split):
                reader = open_clip(cache, video_id, row, verify=True)
            if video_id in failures:
                raise _outdated(failures[video_id])
            return ClipEntry(reader.path, reader.header, reader.relations)
        except ItemError as error:
            return error

    with ThreadPoolExecutor(_THREADS if verify else 1) as pool:
        label = "verify" if verify else "check"
        checked = tqdm(pool.map(check, ids), desc=label, total=len(ids), unit="clip", disable=None)
        found = dict(zip(ids, checked, strict=True))
    clips, bad = [], {}
    for video_id, result in found.items():
        if isinstance(result, ItemError):
            if split is None or _split_of(cache, video_id, manifest) in (split, UNKNOWN):
                bad[video_id] = result
        elif split is None or result.header.split == split:
            clips.append(result)
    return clips, bad


def open_clip(
    cache: Path, video_id: str, row: ManifestRow | None, *, verify: bool = False
) -> ClipReader:
    """Open a clip file and compare it with its manifest line.

    The size and the header are always compared. A file of another size is accepted if its SHA-256
    is the field `before` of the line. Such a file remains if the writer was killed before it
    replaced the file.

    Args:
        cache: folder of the cache.
        video_id: id of the video.
        row: manifest line of the clip, or None if the manifest does not list the clip.
        verify: if True, the SHA-256 of the file is also compared.

    Raises:
        ItemError: BAD_CACHE if the clip is not listed, missing or damaged, or differs from its
            manifest line.
    """
    path = clip_path(cache, video_id)
    if row is None:
        problem = "not listed in the manifest"
    elif not path.is_file():
        problem = f"file not found: {path}"
    elif (verify or path.stat().st_size != row.bytes) and (
        file_sha256(path) not in (row.sha256, row.before)
    ):
        problem = f"{path} differs from its manifest line"
    else:
        reader = ClipReader(path)
        header = reader.header
        split = header.split if row.split == UNKNOWN else row.split
        known = {"id": row.id, "fingerprint": row.fingerprint, "split": split}
        found = {"id": header.video_id, "fingerprint": header.fingerprint, "split": header.split}
        other = [name for name, value in found.items() if known[name] != value]
        if not other and header.split in _SPLITS:
            return reader
        problem = f"the {other[0] if other else 'split'} in {path} differs from its manifest line"
    shown = video_id if is_safe_id(video_id) else repr(video_id[:128])
    raise ItemError(FailureReason.BAD_CACHE, f"{shown}: {problem}; extract it again")


def _outdated(failure: Failure) -> ItemError:
    """Return the error of a clip that remains from before the failure of its video."""
    return ItemError(
        FailureReason.BAD_CACHE,
        f"{failure.id}: the clip is not used, because the last extraction of this video failed "
        f"({failure.reason}: {failure.message}). Correct the cause and extract it again, or remove "
        "the clip with: python -m tools.cache prune CACHE",
    )


def is_held_out(video_id: str, fraction: float) -> bool:
    """Return whether a training video belongs to the validation split.

    The result is determined by the SHA-256 of the id.

    Args:
        video_id: id of the video.
        fraction: expected fraction of validation videos, in [0, 1].
    """
    number = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big")
    return number < fraction * 2**64


def split_held_out(
    clips: Sequence[ClipEntry], fraction: float
) -> tuple[list[ClipEntry], list[ClipEntry]]:
    """Divide training clips into (clips for training, clips of the validation split).

    All samples of a video are in the same part.
    """
    held_out = [clip for clip in clips if is_held_out(clip.source_id, fraction)]
    return [clip for clip in clips if not is_held_out(clip.source_id, fraction)], held_out


def _split_of(cache: Path, video_id: str, manifest: dict[str, ManifestRow]) -> str | None:
    """Return the split of an unusable clip from the manifest or the header, or `unknown`."""
    split = manifest[video_id].split if video_id in manifest else UNKNOWN
    if split == UNKNOWN and is_safe_id(video_id):
        with suppress(ItemError):
            split = ClipReader(clip_path(cache, video_id)).header.split
    return split if split in _SPLITS else UNKNOWN
