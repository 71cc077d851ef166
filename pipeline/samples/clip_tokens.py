"""From a cached clip to what the model eats."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, islice

import torch
from torch import Tensor

from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip
from relations.spatial_masks import spatial_masks

_PACKED = (
    "human_features",
    "object_features",
    "union_features",
    "spatial_masks",
    "human_labels",
    "object_labels",
)


@dataclass(frozen=True)
class ClipTokens:
    """The tokens of one video and where each comes from.

    Attributes:
        batch: one video, T frames, K slots.
        pair_row: (M,) int64 row of each packed token among the clip's pairs.
        frame_row: (M,) int64 row of its frame in the clip.
    """

    batch: TokenBatch
    pair_row: Tensor
    frame_row: Tensor


def clip_tokens(clip: CachedClip, max_pairs: int, relations: str | None = None) -> ClipTokens:
    """Tokens of a clip's frames, all of them.

    The slots of a frame are ordered by falling score of the object, then its class, then its box;
    pairs beyond `max_pairs` are left out.

    Args:
        clip: the frames that were sampled, T of them.
        max_pairs: most slots per frame.
        relations: source of predicates in the clip, or None to carry none.

    Returns:
        One video with K = the most pairs a frame has, or `max_pairs`.

    Raises:
        KeyError: if the clip has no such relations.
    """
    order, mask = _slots(clip, max_pairs)
    human, object_ = clip.pair_rows[order].unbind(1)
    batch = TokenBatch(
        mask=mask[None],
        human_features=clip.box_features[human].float(),
        object_features=clip.box_features[object_].float(),
        union_features=clip.union_features[order].float(),
        spatial_masks=spatial_masks(clip.boxes[human], clip.boxes[object_]),
        human_labels=clip.labels[human],
        object_labels=clip.labels[object_],
        predicates=None if relations is None else clip.predicates[relations][order],
    )
    return ClipTokens(batch, order, clip.pair_frame[order])


def collate_tokens(videos: Sequence[TokenBatch]) -> TokenBatch:
    """One batch of several; shorter videos and frames of fewer pairs are padded.

    All or none of them carry predicates.
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
    return TokenBatch(mask, **packed, predicates=torch.cat(predicates) if predicates else None)


def _slots(clip: CachedClip, max_pairs: int) -> tuple[Tensor, Tensor]:
    """Rows of pairs, frame by frame in slot order (M,), and the mask (T, K) they fill."""
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
