"""Annotated pairs of cached clips."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from pipeline.cache.clip import CachedClip
from pipeline.cache.listing import ClipEntry
from pipeline.cache.reader import ClipReader
from pipeline.errors import ItemError, StageError
from pipeline.extraction.relation_prediction import clip_pairs
from pipeline.samples.dataset import check_finite, epoch_loader
from relations.pair_batch import PairBatch, join_pairs

GROUND_TRUTH = "ground-truth"


@dataclass(frozen=True)
class RelationSample:
    """Annotated frames of one video or several.

    Attributes:
        video_ids: of the videos.
        pairs: P pairs over N boxes.
        predicates: (P, R) float32 of 0 and 1; zeros where nothing is known of a pair.
        boxes: (N, 4); distribution: (N, O): what the object classifier takes beside the features.
        is_annotated: (N,) bool: the box and its class were given, not detected.
    """

    video_ids: tuple[str, ...]
    pairs: PairBatch
    predicates: Tensor
    boxes: Tensor
    distribution: Tensor
    is_annotated: Tensor


def read_annotated(entry: ClipEntry) -> CachedClip:
    """The frames of a clip of which relations are known; none of them may be.

    Raises:
        ItemError: BAD_CACHE if the clip is damaged or not finite.
    """
    reader = ClipReader(entry.path)
    clip = reader.read(reader.has_relations(GROUND_TRUTH).nonzero()[:, 0].tolist())
    check_finite(clip)
    return clip


def to_sample(clip: CachedClip) -> RelationSample:
    """A clip as the predictor's loss takes it.

    Of detected boxes only the pairs count that match an annotated one, as in STTran.
    """
    pairs, predicates = clip_pairs(clip), clip.predicates[GROUND_TRUTH]
    if clip.header.feature_source == "proposal":
        known = predicates.any(1)
        pairs, predicates = pairs.keep(known), predicates[known]
    given = torch.full((len(clip.boxes),), clip.header.feature_source == "box")
    objects = (clip.boxes, clip.distribution, given)
    return RelationSample((clip.video_id,), pairs, predicates, *objects)


def join_samples(samples: Sequence[RelationSample]) -> RelationSample:
    """Several videos as one batch."""
    return RelationSample(
        tuple(name for sample in samples for name in sample.video_ids),
        join_pairs([sample.pairs for sample in samples]),
        **{
            name: torch.cat([getattr(sample, name) for sample in samples])
            for name in ("predicates", "boxes", "distribution", "is_annotated")
        },
    )


class RelationClips(Dataset[RelationSample | ItemError]):
    """Reads clips; of one that cannot be read, the reason why."""

    def __init__(self, clips: Sequence[ClipEntry]) -> None:
        self.clips = list(clips)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> RelationSample | ItemError:
        try:
            return to_sample(read_annotated(self.clips[index]))
        except ItemError as error:  # worker processes can hand on values, not every exception
            return error


def epoch_batches(
    data: RelationClips, batch_size: int, *, seed: int, epoch: int, workers: int
) -> Iterator[RelationSample]:
    """The clips of one epoch in batches, shuffled by (seed, epoch).

    Raises:
        StageError: if a clip cannot be read.
    """
    draw = (seed, epoch)
    for batch in epoch_loader(data, batch_size, _join_whole, workers=workers, draw=draw):
        if isinstance(batch, ItemError):
            raise StageError(str(batch)) from batch
        yield batch


def _join_whole(items: Sequence[RelationSample | ItemError]) -> RelationSample | ItemError:
    """A batch, or the first reason why there is none."""
    for item in items:
        if isinstance(item, ItemError):
            return item
    return join_samples([item for item in items if isinstance(item, RelationSample)])
