"""Labelled samples of a cache: its videos, or the spans of its videos."""

from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.cache.folder import CacheInfo, clip_path
from pipeline.cache.listing import ClipEntry, list_clips
from pipeline.cache.reader import ClipReader
from pipeline.datasets import Span
from pipeline.errors import ItemError, UsageError
from pipeline.samples.folds import Fold


def list_samples(
    cache: Path,
    *,
    split: str,
    fold: Fold | None = None,
    info: CacheInfo | None = None,
    verify: bool = False,
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the labelled samples of a split, sorted by the id of their video.

    Args:
        cache: folder of the cache.
        split: `train` or `test`.
        fold: fold that determines the split, or None for the split of the dataset.
        info: properties of the cache, which list the subject of each video of a dataset with folds.
            Without them, unusable videos of all subjects are returned.
        verify: see `list_clips`.

    Returns:
        A tuple of the samples and a dict from the id of each unusable video to its error.
    """
    listed, bad = list_split(cache, split=split, fold=fold, info=info, verify=verify)
    return [sample for clip in listed for sample in samples_of(clip)], bad


def list_split(
    cache: Path,
    *,
    split: str,
    fold: Fold | None = None,
    info: CacheInfo | None = None,
    verify: bool = False,
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the whole clips of a split, also those without labels, see `list_samples`."""
    fixed = split if fold is None else None
    listed, bad = list_clips(cache, split=fixed, verify=verify)
    if fold is None:
        return listed, bad
    known: dict[str, str | None] = {}
    if fold.subjects is not None and info is not None:
        known = _subjects_of(cache, bad, info)
    return [c for c in listed if fold.has(split, c.source_id, c.header.subject)], {
        video_id: error
        for video_id, error in bad.items()
        if (fold.subjects is not None and video_id not in known)
        or fold.has(split, video_id, known.get(video_id))
    }


def _subjects_of(cache: Path, video_ids: Iterable[str], info: CacheInfo) -> dict[str, str | None]:
    """Return the subjects of unusable videos from `cache.json` or the clips, where they are known.

    `cache.json` does not list a video with malformed lines in `video_clips.txt`.
    """
    found = {Span.video_of(video.id): video.subject for video in info.test_videos}
    for video_id in {*video_ids} - found.keys():
        with suppress(ItemError):
            found[video_id] = ClipReader(clip_path(cache, video_id)).header.subject
    return found


def samples_of(entry: ClipEntry) -> list[ClipEntry]:
    """Return the labelled samples of a video: its spans, the video itself, or none."""
    header = entry.header
    if header.spans is None:
        return [] if header.actions is None else [entry]
    fps = header.source.fps or 1.0
    found = []
    for span in header.spans:
        start_s, end_s = span.first / fps, span.last / fps
        part = replace(
            header,
            video_id=span.id(entry.source_id),
            actions=((span.action, start_s, end_s),),
            source=replace(header.source, duration_s=end_s - start_s + 1 / fps),
            spans=None,
        )
        found.append(replace(entry, header=part, span=(span.first, span.last)))
    return found


def no_samples(cache: Path, split: str, fold: Fold | None, bad: Collection[str]) -> UsageError:
    """Return the error of a cache without labelled samples of a split.

    Args:
        cache: folder of the cache.
        split: `train`, `test` or `validation`.
        fold: the fold, or None without folds.
        bad: ids of the unusable videos of the split.
    """
    damaged = f"({len(bad)} clips are unusable)"
    part = "test" if split == "test" else "train"
    there = [clip for clip in list_clips(cache)[0] if samples_of(clip)]
    if fold is None or any(fold.has(part, c.source_id, c.header.subject) for c in there):
        return UsageError(f"--cache: {cache} contains no labelled videos of {split!r} {damaged}")
    those = f"{len(there)} others"
    if fold.subjects is not None:
        those = (
            f"those of {', '.join(sorted({str(c.header.subject) for c in there})) or 'no subject'}"
        )
    return UsageError(
        f"--cache: labelled videos of {fold.describe(part)} of this fold expected, but {cache} "
        f"contains {those} only {damaged}; extract the missing videos, or use another fold"
    )
