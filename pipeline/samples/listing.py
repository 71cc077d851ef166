"""Labelled samples of a cache: its videos, or the spans of its videos."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from pipeline.cache.folder import CacheInfo, clip_path
from pipeline.cache.listing import ClipEntry, list_clips
from pipeline.cache.reader import ClipReader
from pipeline.datasets import Span
from pipeline.errors import ItemError, UsageError


def list_samples(
    cache: Path,
    *,
    split: str,
    subjects: Collection[str] | None = None,
    info: CacheInfo | None = None,
    verify: bool = False,
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the labelled samples of a split, sorted by the id of their video.

    Args:
        cache: folder of the cache.
        split: `train` or `test`.
        subjects: test subjects of a fold (`fold_subjects`), which determine the split, or None.
        info: properties of the cache, which list the subject of each video of a dataset with folds.
            Without them, unusable videos of all subjects are returned.
        verify: see `list_clips`.

    Returns:
        A tuple of the samples and a dict from the id of each unusable video to its error.
    """
    listed, bad = list_split(cache, split=split, subjects=subjects, info=info, verify=verify)
    return [sample for clip in listed for sample in samples_of(clip)], bad


def list_split(
    cache: Path,
    *,
    split: str,
    subjects: Collection[str] | None = None,
    info: CacheInfo | None = None,
    verify: bool = False,
) -> tuple[list[ClipEntry], dict[str, ItemError]]:
    """List the whole clips of a split, also those without labels, see `list_samples`."""
    fixed = split if subjects is None else None
    listed, bad = list_clips(cache, split=fixed, verify=verify)
    if subjects is not None:
        listed = [c for c in listed if (c.header.subject in subjects) == (split == "test")]
        known = _subjects_of(cache, bad, info) if info else {}
        bad = {
            video_id: error
            for video_id, error in bad.items()
            if video_id not in known or (known[video_id] in subjects) == (split == "test")
        }
    return listed, bad


def _subjects_of(cache: Path, video_ids: Iterable[str], info: CacheInfo) -> dict[str, str | None]:
    """Return the subjects of unusable videos from `cache.json` or the clips, where they are known.

    `cache.json` does not list a video with a faulty annotation.
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


def fold_subjects(fold: str | None, folds: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the test subjects of a fold, or None for a dataset without folds.

    Args:
        fold: name of the fold (setting `fold`).
        folds: mapping from the name of each fold of the dataset to its test subjects.

    Raises:
        UsageError: if the dataset has folds and the fold is not one of them, or if it has none and
            a fold is given.
    """
    if not folds:
        if fold is not None:
            raise UsageError(f"fold={fold}: the dataset has no folds; leave it out")
        return None
    if fold is None or fold not in folds:
        got = "none" if fold is None else fold
        raise UsageError(f"fold: one of {', '.join(folds)} expected, got {got}")
    return folds[fold]


def no_samples(
    cache: Path, split: str, subjects: Collection[str] | None, bad: Collection[str]
) -> UsageError:
    """Return the error of a cache without labelled samples of a split.

    Args:
        cache: folder of the cache.
        split: `train`, `test` or `validation`.
        subjects: test subjects of the fold, or None without folds.
        bad: ids of the unusable videos of the split.
    """
    damaged = f"({len(bad)} clips are unusable)"
    there = {str(c.header.subject) for c in list_clips(cache)[0] if samples_of(c)}
    if subjects is None or any((name in subjects) == (split == "test") for name in there):
        return UsageError(f"--cache: {cache} contains no labelled videos of {split!r} {damaged}")
    chosen = ", ".join(subjects)
    wanted = f"the test subjects ({chosen})"
    if split != "test":
        wanted = f"the training subjects (all but {chosen})"
    return UsageError(
        f"--cache: labelled videos of {wanted} of this fold expected, but {cache} contains those "
        f"of {', '.join(sorted(there)) or 'no subject'} only {damaged}; extract the missing "
        "videos, or use another fold"
    )
