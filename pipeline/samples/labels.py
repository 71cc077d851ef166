"""Labels of clips, and of subsets of their tokens."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from pipeline.cache.clip import ClipHeader
from pipeline.cache.listing import ClipEntry
from pipeline.errors import FailureReason, ItemError, UsageError


def with_classes(header: ClipHeader, columns: Sequence[int] | None) -> ClipHeader:
    """Return a header with the labels of some classes only, which are numbered by column.

    Args:
        header: header of a clip.
        columns: class of the cache in each column; None for all classes.
    """
    if columns is None or header.actions is None:
        return header
    column = {class_index: index for index, class_index in enumerate(columns)}
    chosen = tuple((column[c], start, end) for c, start, end in header.actions if c in column)
    return replace(header, actions=chosen)


def with_known_labels(
    clips: Sequence[ClipEntry], columns: Sequence[int] | None, *, multi_label: bool = True
) -> list[ClipEntry]:
    """Return the clips whose labels of some classes are known.

    A clip without any label says nothing, but a clip that has labels of other classes only is a
    negative of all columns. The official Charades mAP ranks clips without any label last, which is
    the same as leaving them out.

    Args:
        clips: clips of a cache.
        columns: class of the cache in each column. If it is None, all clips are returned.
        multi_label: if False, clips with labels of other classes only are left out as well, because
            each clip has exactly one of the classes.
    """
    if columns is None:
        return list(clips)
    known = clips if multi_label else [c for c in clips if with_classes(c.header, columns).actions]
    return [clip for clip in known if clip.header.actions]


def check_single_label(
    videos: Iterable[tuple[str, Collection[int]]], columns: Sequence[int] | None
) -> None:
    """Check that each video has exactly one of some classes.

    Args:
        videos: id and class indices of each video.
        columns: class of the cache in each column; None for all classes.

    Raises:
        UsageError: if a video has none or several of the classes.
    """
    for video_id, actions in videos:
        num = len({*actions} if columns is None else {*actions} & {*columns})
        if num != 1:
            raise UsageError(
                f"loss.multi_label=false: one action per video expected, {video_id} has {num}"
            )


def clip_actions(clips: Iterable[ClipEntry]) -> list[tuple[str, Collection[int]]]:
    """Return the id and the class indices of each clip, for `check_single_label`."""
    return [(clip.video_id, {a for a, _, _ in clip.header.actions or ()}) for clip in clips]


def class_labels(header: ClipHeader, num_classes: int) -> Tensor:
    """Return the label vector of a clip.

    Args:
        header: header of the clip.
        num_classes: number of action classes C.

    Returns:
        (C,) float32, 1 for the classes of the video and 0 for all others.

    Raises:
        ItemError: BAD_ANNOTATION if a class index is out of range.
    """
    labels = torch.zeros(num_classes)
    for action, _, _ in header.actions or ():
        if not 0 <= action < num_classes:
            raise ItemError(
                FailureReason.BAD_ANNOTATION,
                f"{header.video_id}: class indices below {num_classes} expected, got {action}",
            )
        labels[action] = 1.0
    return labels


def action_frames(
    header: ClipHeader, times_s: Float[Tensor, "T"], num_classes: int
) -> Bool[Tensor, "C T"]:
    """Return the frames during an action of each class, ends included.

    Args:
        header: header of a clip with valid labels, see `class_labels`.
        times_s: times of the frames in seconds.
        num_classes: number of action classes C.
    """
    during = torch.zeros(num_classes, len(times_s), dtype=torch.bool)
    for action, start, end in header.actions or ():
        during[action] |= (times_s >= start) & (times_s <= end)
    return during


def subset_labels(
    labels: Float[Tensor, "B C"],
    during: Bool[Tensor, "B C T"],
    mask: Bool[Tensor, "B T K"],
    keep: Bool[Tensor, "B T K"],
) -> Float[Tensor, "B C"]:
    """Return the labels of subsets of the tokens of videos.

    The network sees only the subset, so its label is that of the actions that the subset shows.
    Otherwise, the network would learn to guess an action from others that often occur in the same
    video.

    Args:
        labels: labels of the videos.
        during: frames during an action of each class.
        mask: True for real tokens.
        keep: tokens of the subset of each video.

    Returns:
        Labels. Those of a subset with all tokens are unchanged. For another subset, the label of a
        class of the video is 0 if the subset contains no token during its actions. It is 1 if the
        subset contains only such tokens, or at least half of them with some of their first and of
        their last frame: the ends of an action show what changes. It is NaN otherwise, or if the
        video has no token during the action.
    """
    kept, real = keep.sum(2)[:, None], (keep | mask).sum(2)[:, None]  # (B, 1, T)
    during = during & (real > 0)
    inside, total = (during * kept).sum(2), (during * real).sum(2)  # (B, C)
    first = during & (during.cumsum(2) == 1)
    last = during & (during.flip(2).cumsum(2).flip(2) == 1)
    has_ends = ~((first | last) & (kept == 0)).any(2)
    shown = (has_ends & (2 * inside >= total)) | (inside == kept.sum(2))
    changed = torch.where(shown, 1.0, float("nan")).masked_fill(inside == 0, 0.0)
    changed = changed.masked_fill(total == 0, float("nan"))
    changed = torch.where(labels > 0, changed.to(labels.dtype), labels)
    whole = (keep == mask).flatten(1).all(1, keepdim=True)
    return torch.where(whole, labels, changed)
