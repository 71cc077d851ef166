"""Conversion of cached clips to tokens, which are the input of the network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice

import torch
from torch import Tensor

from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip
from relations.spatial_masks import spatial_masks
from relations.tracks import link_tracks

_PACKED = (
    "human_features",
    "object_features",
    "union_features",
    "spatial_masks",
    "human_labels",
    "object_labels",
    "times_s",
    "tracks",
)
#: Arrays of tokens that a cached clip stores as float16.
FEATURES = ("human_features", "object_features", "union_features")


@dataclass(frozen=True)
class ClipTokens:
    """Tokens of one video, with the pair and the frame of each token.

    Attributes:
        batch: batch of one video with T frames, K slots per frame and M tokens.
        pair_row: (M,) int64 pair row of each token in the clip.
        frame_row: (M,) int64 frame row of each token in the clip.
    """

    batch: TokenBatch
    pair_row: Tensor
    frame_row: Tensor


def clip_tokens(clip: CachedClip, max_pairs: int, relations: str | None = None) -> ClipTokens:
    """Convert the pairs of all frames of a clip to tokens.

    The pairs of a frame are sorted by descending score of the object, then by its class, then by
    its box. Pairs after the first `max_pairs` are discarded.

    Args:
        clip: clip of the T sampled frames.
        max_pairs: maximum number of slots per frame.
        relations: relation source of the tokens' predicates. If None, the tokens have no
            predicates.

    Returns:
        Tokens of one video. K is the largest number of pairs in a frame, at most `max_pairs`.

    Raises:
        KeyError: if the clip does not contain this relation source.
    """
    order, mask = _slots(clip, max_pairs)
    human, object_ = clip.pair_rows[order].unbind(1)
    frame = clip.pair_frame[order]
    times_s = (clip.timestamps_s - clip.timestamps_s[:1]).float()
    batch = TokenBatch(
        mask=mask[None],
        human_features=clip.box_features[human].float(),
        object_features=clip.box_features[object_].float(),
        union_features=clip.union_features[order].float(),
        spatial_masks=spatial_masks(clip.boxes[human], clip.boxes[object_]),
        human_labels=clip.labels[human],
        object_labels=clip.labels[object_],
        times_s=times_s[frame],
        tracks=_tracks(clip, clip.pair_rows[order], frame),
        predicates=None if relations is None else clip.predicates[relations][order],
    )
    return ClipTokens(batch, order, frame)


def frame_tokens(tokens: ClipTokens, clip: CachedClip, frames: Sequence[int]) -> TokenBatch:
    """Return the tokens of some frames of a clip: those of `clip_tokens(clip.select(frames))`.

    Args:
        tokens: tokens of the clip. Features may be float16; those of the result are float32.
        clip: the clip; its union features are not read.
        frames: increasing frame rows in [0, T).
    """
    mask, place = tokens.batch.mask[:, frames], torch.full((clip.num_frames,), -1)
    place[frames] = torch.arange(len(frames))
    K = int(mask.sum(2).max()) if mask.numel() else 0
    rows = (place[tokens.frame_row] >= 0).nonzero()[:, 0]
    packed = {name: value[rows] for name, value in tokens.batch.packed.items()}
    frame, times_s = place[tokens.frame_row[rows]], clip.timestamps_s[frames]
    packed["times_s"] = (times_s - times_s[:1]).float()[frame]
    packed["tracks"] = _tracks(clip, clip.pair_rows[tokens.pair_row[rows]], frame)
    for name in FEATURES:
        packed[name] = packed[name].float()
    return TokenBatch(mask[:, :, :K], **packed)


def reverse_tokens(batch: TokenBatch) -> TokenBatch:
    """Reverse the frames of one video and mirror their times; tracks stay the same.

    Times are mirrored between 0 and the time of the last token.
    """
    turned = reorder_frames(batch, torch.arange(batch.mask.shape[1]).flip(0))
    if not len(batch.tracks):
        return turned
    return replace(turned, times_s=batch.times_s.max() - turned.times_s)


def reorder_frames(batch: TokenBatch, order: Tensor) -> TokenBatch:
    """Return the tokens of one video with its frames in another order.

    Args:
        batch: batch of one video.
        order: (T,) int64 permutation. Frame t of the result is frame `order[t]`, with its times
            and tracks.
    """
    mask, rows = batch.mask[:, order], torch.full(batch.mask.shape, -1)
    rows[batch.mask] = torch.arange(len(batch.tracks))
    packed = {name: value[rows[:, order][mask]] for name, value in batch.packed.items()}
    return replace(batch, mask=mask, **packed)


def collate_tokens(videos: Sequence[TokenBatch]) -> TokenBatch:
    """Concatenate batches.

    Videos with fewer frames and frames with fewer pairs are padded.

    Args:
        videos: batches. Either all or none of them have predicates, and clip features.
    """
    T = max((v.mask.shape[1] for v in videos), default=0)
    K = max((v.mask.shape[2] for v in videos), default=0)
    mask = torch.zeros(sum(len(v) for v in videos), T, K, dtype=torch.bool)
    row = 0
    for video in videos:
        B, t, k = video.mask.shape
        mask[row : row + B, :t, :k] = video.mask
        row += B
    packed = {name: torch.cat([getattr(v, name) for v in videos]) for name in _PACKED}
    predicates = [v.predicates for v in videos if v.predicates is not None]
    clips = [v.clip_features for v in videos if v.clip_features is not None]
    return TokenBatch(
        mask,
        **packed,
        predicates=torch.cat(predicates) if predicates else None,
        clip_features=torch.cat(clips) if clips else None,
    )


def _tracks(clip: CachedClip, pairs: Tensor, frame: Tensor) -> Tensor:
    """Return the track of each pair, numbered from 0 by first appearance.

    Equal numbers mark the same two objects. If an object has one pair per frame, as with a single
    person, its track is that of the object.

    Args:
        clip: the clip.
        pairs: (M, 2) box rows of the pairs, sorted by frame.
        frame: (M,) frame row of each pair.
    """
    if clip.instances is not None:
        return _numbered(clip.instances[pairs])
    first, objects = pairs.unbind(1)
    if len(objects.unique()) == len(objects):
        boxes, features = clip.boxes[objects], clip.box_features[objects]
        return link_tracks(boxes, clip.labels[objects], features, frame)
    rows, place = torch.cat([first, objects]).unique(return_inverse=True)
    frames = torch.repeat_interleave(clip.box_offsets.diff())[rows]
    tracks = link_tracks(clip.boxes[rows], clip.labels[rows], clip.box_features[rows], frames)
    return _numbered(tracks[place].view(2, -1).T)


def _numbered(ids: Tensor) -> Tensor:
    """Number the distinct rows of (M, 2) ids from 0 by first appearance."""
    numbers: dict[tuple[int, ...], int] = {}
    found = [numbers.setdefault(tuple(row), len(numbers)) for row in ids.tolist()]
    return torch.tensor(found, dtype=torch.int64)


def _slots(clip: CachedClip, max_pairs: int) -> tuple[Tensor, Tensor]:
    """Return the (M,) pair rows, sorted by frame and slot, and the (T, K) mask of used slots."""
    frames = clip.pair_frame.tolist()
    objects = clip.pair_rows[:, 1]
    scores, labels = clip.scores[objects].tolist(), clip.labels[objects].tolist()
    boxes = clip.boxes[objects].tolist()
    rows = sorted(range(len(frames)), key=lambda p: (frames[p], -scores[p], labels[p], boxes[p]))
    counts = clip.pair_offsets.diff().clamp(max=max_pairs)
    kept = [p for _, group in groupby(rows, frames.__getitem__) for p in islice(group, max_pairs)]
    K = int(counts.max()) if len(counts) else 0
    mask = torch.arange(K)[None] < counts[:, None]
    return torch.tensor(kept, dtype=torch.int64), mask
