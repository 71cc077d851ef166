"""The clips of a cache that can be used, and why the others cannot."""

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
from pipeline.cache.manifest import Row, is_known_file, read_manifest
from pipeline.cache.reader import ClipReader
from pipeline.datasets.ids import is_safe_id
from pipeline.errors import FailureReason, ItemError

_SPLITS = ("train", "test", None)
_THREADS = min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class ClipEntry:
    """A clip of a cache: its file, its header, and the relation sources it holds."""

    path: Path
    header: ClipHeader
    relations: tuple[str, ...] = ()

    @property
    def video_id(self) -> str:
        """Id of the video."""
        return self.header.video_id


def list_clips(
    cache: Path, *, split: str | None = None, verify: bool = False
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the clips of a cache, sorted by id.

    Args:
        cache: folder.
        split: `train`, `test`, or None for all clips.
        verify: compare every byte of those clips with the manifest, in threads; otherwise size and
            header.

    Returns:
        The clips, and for each other id why it cannot be used: BAD_CACHE if the file is missing,
        changed, of another schema, or not in the manifest. With `split` an unusable clip is listed
        if it is of that split, or if its split is unknown.
    """
    manifest = read_manifest(cache)
    files = [path for path in cache.glob("*.safetensors") if path.stem not in manifest]
    ids = sorted([*manifest, *(path.stem for path in files if path.is_file())])

    def check(video_id: str) -> ClipEntry | ItemError:
        try:
            row = manifest.get(video_id, {})
            reader = open_clip(cache, video_id, row)
            if verify and (split is None or reader.header.split == split):
                reader = open_clip(cache, video_id, row, verify=True)
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
            if split is None or _split_of(cache, video_id, manifest) in (split, "unknown"):
                bad[video_id] = result
        elif split is None or result.header.split == split:
            clips.append(result)
    return clips, bad


def open_clip(cache: Path, video_id: str, row: Row, *, verify: bool = False) -> ClipReader:
    """Open a clip after comparing its file with its line of the manifest.

    The size and the header are compared always. A file of another size is accepted if its bytes are
    those of the file that it was to replace: the writer was killed. With `verify` every byte is
    compared. `row` is empty for a clip that the manifest does not list.

    Raises:
        ItemError: BAD_CACHE.
    """
    path = clip_path(cache, video_id)
    if "sha256" not in row:
        problem = "not listed in the manifest"
    elif not path.is_file():
        problem = f"file not found: {path}"
    elif (verify or path.stat().st_size != row.get("bytes")) and not is_known_file(path, row):
        problem = f"{path} differs from its manifest"
    else:
        reader = ClipReader(path)
        header = reader.header
        known = {"id": video_id, "fingerprint": header.fingerprint, "split": header.split} | row
        found = {"id": header.video_id, "fingerprint": header.fingerprint, "split": header.split}
        other = [name for name, value in found.items() if known[name] != value]
        if not other and header.split in _SPLITS:
            return reader
        problem = f"{path} has another {other[0] if other else 'split'} than its manifest"
    shown = video_id if is_safe_id(video_id) else repr(video_id[:128])
    raise ItemError(FailureReason.BAD_CACHE, f"{shown}: {problem}; extract it again")


def is_held_out(video_id: str, fraction: float) -> bool:
    """Whether a training video belongs to the validation split: by the SHA-256 of its id."""
    number = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big")
    return number < fraction * 2**64


def split_held_out(
    clips: Sequence[ClipEntry], fraction: float
) -> tuple[list[ClipEntry], list[ClipEntry]]:
    """Divide training clips into those to train on and those of the validation split."""
    held_out = [clip for clip in clips if is_held_out(clip.video_id, fraction)]
    return [clip for clip in clips if not is_held_out(clip.video_id, fraction)], held_out


def _split_of(cache: Path, video_id: str, manifest: dict[str, Row]) -> str | None:
    """The split of an unusable clip, by its manifest or else its header; `unknown` without both."""
    split = manifest.get(video_id, {}).get("split", "unknown")
    if split == "unknown" and is_safe_id(video_id):
        with suppress(ItemError):
            split = ClipReader(clip_path(cache, video_id)).header.split
    return split if split in _SPLITS else "unknown"
