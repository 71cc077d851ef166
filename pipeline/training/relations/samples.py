"""Annotated pairs of cached clips."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.cache.clip import CachedClip
from pipeline.cache.listing import ClipEntry
from pipeline.cache.reader import ClipReader
from pipeline.errors import ItemError
from pipeline.extraction.relation_prediction import clip_pairs
from pipeline.samples.dataset import check_finite
from relations.pair_batch import PairBatch, join_pairs

GROUND_TRUTH = "ground-truth"


@dataclass(frozen=True)
class RelationSample:
    """Annotated frames of one or several videos.

    Attributes:
        video_ids: ids of the videos.
        pairs: P pairs of N boxes.
        predicates: (P, R) float32, 0 or 1. The row of a pair with unknown relations is zero.
        boxes: (N, 4) boxes, xyxy in pixels of the frame, used by the object classifier.
        distribution: (N, O) class probabilities of the boxes, used by the object classifier.
        is_annotated: (N,) bool, True if the box and its class are annotated instead of detected.
    """

    video_ids: tuple[str, ...]
    pairs: PairBatch
    predicates: Tensor
    boxes: Tensor
    distribution: Tensor
    is_annotated: Tensor


def read_annotated(entry: ClipEntry) -> CachedClip:
    """Read the frames of a clip that have annotated relations.

    Returns:
        A clip of these frames, possibly without frames.

    Raises:
        ItemError: BAD_CACHE if the clip is damaged or has values that are not finite.
    """
    reader = ClipReader(entry.path)
    clip = reader.read(reader.has_relations(GROUND_TRUTH).nonzero()[:, 0].tolist())
    check_finite(clip)
    return clip


def to_sample(clip: CachedClip) -> RelationSample:
    """Convert a clip to a training sample.

    With detected boxes, only the pairs that match an annotated pair are kept, as in STTran.
    """
    pairs, predicates = clip_pairs(clip), clip.predicates[GROUND_TRUTH]
    if clip.header.feature_source == "proposal":
        known = predicates.any(1)
        pairs, predicates = pairs.keep(known), predicates[known]
    given = torch.full((len(clip.boxes),), clip.header.feature_source == "box")
    objects = (clip.boxes, clip.distribution, given)
    return RelationSample((clip.video_id,), pairs, predicates, *objects)


def join_samples(samples: Sequence[RelationSample]) -> RelationSample:
    """Join the samples of several videos into one."""
    return RelationSample(
        tuple(name for sample in samples for name in sample.video_ids),
        join_pairs([sample.pairs for sample in samples]),
        **{
            name: torch.cat([getattr(sample, name) for sample in samples])
            for name in ("predicates", "boxes", "distribution", "is_annotated")
        },
    )


class RelationClips(Dataset[RelationSample | ItemError]):
    """Dataset of cached clips. The item of an unreadable clip is its error."""

    def __init__(self, clips: Sequence[ClipEntry]) -> None:
        self.clips = list(clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> RelationSample | ItemError:
        try:
            return to_sample(read_annotated(self.clips[index]))
        except ItemError as error:  # a worker process can return this error, but not raise it
            return error


def join_whole(items: Sequence[RelationSample | ItemError]) -> RelationSample | ItemError:
    """Join samples into a batch, or return the first error."""
    for item in items:
        if isinstance(item, ItemError):
            return item
    return join_samples([item for item in items if isinstance(item, RelationSample)])
