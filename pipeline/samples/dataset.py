"""Dataset and batches of cached clips."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip, ClipHeader
from pipeline.cache.clip_features import ClipFeatures
from pipeline.cache.listing import ClipEntry
from pipeline.cache.reader import ClipReader
from pipeline.decoding.sampling import segment_rows, uniform_rows
from pipeline.errors import FailureReason, ItemError
from pipeline.samples.clip_tokens import (
    clip_tokens,
    collate_tokens,
    reorder_frames,
    reverse_tokens,
)
from pipeline.samples.labels import action_frames, class_labels, with_classes
from pipeline.samples.memory import ClipInMemory, ClipMemory
from pipeline.weights.model_card import ModelCard


@dataclass(frozen=True)
class Sample:
    """Input and labels of one video.

    Attributes:
        video_id: id of the video.
        tokens: tokens of the video.
        labels: (C,) float32, 1 for the classes of the video and 0 for all others. In a reversed
            video, NaN for all classes without an inverse (`reversed_samples`).
        during: (C, T) bool, frames during an action of each class.
    """

    video_id: str
    tokens: TokenBatch
    labels: Tensor
    during: Tensor


@dataclass(frozen=True)
class SampleBatch:
    """Input and labels of B videos.

    Attributes:
        video_ids: ids of the videos.
        tokens: tokens of the videos, or None if no video could be read.
        labels: (B, C) float32 labels of the videos, see `Sample`.
        during: (B, C, T) bool, frames during an action of each class, False for padding.
        failed: pairs (id, error) of the clips that could not be read.
    """

    video_ids: tuple[str, ...]
    tokens: TokenBatch | None
    labels: Tensor
    during: Tensor
    failed: tuple[tuple[str, ItemError], ...]


class ClipDataset(Dataset[Sample | tuple[str, ItemError]]):
    """Dataset of samples with at most T frames from cached clips.

    The frames of a clip are divided into T segments. With a seed, as in training, one random frame
    of each segment is used. The choice depends only on (seed, epoch, id). The number of workers
    and the order of the samples have no effect. Without a seed, the centre frame of each segment is
    used.

    For clips with detected boxes, only the uniform frames are used. If `relations` is
    `ground-truth`, only the frames of such a clip that have annotated relations are used, because
    the relations of the other frames are unknown.

    Args:
        clips: clips to read.
        num_classes: number of action classes C.
        num_frames: largest number of frames T.
        max_pairs: largest number of pairs per frame K.
        relations: relation source of the tokens' predicates, or None.
        seed: seed of the random frames; None for the centres.
        reversed_share: probability that the frames of a sample are reversed (`reverse_tokens`). If
            it is between 0 and 1, a seed is required.
        inverse_pairs: columns of the two classes of each inverse pair, for the labels of reversed
            samples.
        columns: class of the cache in each of the C columns. Labels of other classes are dropped.
            If None, the columns are the classes of the cache.
        ends: whether the first and the last frame of a clip are always used.
        shuffle: whether the frames of a sample are in a random order (`shuffled_sample`). With a
            seed, the order changes with the epoch. Without a seed, it depends only on the id.
        clip_features: clip features of the samples, or None.
        memory_bytes: largest number of bytes of clips that are kept in memory (`ClipMemory`).

    Attributes:
        epoch: number of the epoch, set by the training loop.
    """

    def __init__(
        self,
        clips: Sequence[ClipEntry],
        num_classes: int,
        *,
        num_frames: int,
        max_pairs: int,
        relations: str | None = None,
        seed: int | None = None,
        reversed_share: float = 0.0,
        inverse_pairs: Sequence[tuple[int, int]] = (),
        columns: Sequence[int] | None = None,
        ends: bool = False,
        shuffle: bool = False,
        clip_features: ClipFeatures | None = None,
        memory_bytes: int = 0,
    ) -> None:
        self.clips, self.columns, self.ends = list(clips), columns, ends
        self.num_classes = num_classes
        self.num_frames, self.max_pairs = num_frames, max_pairs
        self.relations, self.seed = relations, seed
        self.reversed_share, self.inverse_pairs = reversed_share, list(inverse_pairs)
        self.shuffle, self.clip_features, self.epoch = shuffle, clip_features, 0
        self._memory = ClipMemory(memory_bytes)

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample | tuple[str, ItemError]:
        """Return a sample, or a pair (id, error) if the clip is unusable."""
        entry = self.clips[index]
        try:
            header, timestamps_s, tokens = self._load(entry)
            if self.clip_features is not None:
                vector = self.clip_features.read(entry.video_id)
                tokens = replace(tokens, clip_features=vector[None])
            labels = class_labels(header, self.num_classes)
            during = action_frames(header, timestamps_s, self.num_classes)
            sample = Sample(entry.video_id, tokens, labels, during)
            if self.shuffle:
                rng = self._generator(entry, 2) or np.random.default_rng(_salt(entry, 2))
                sample = shuffled_sample(sample, timestamps_s, rng)
            return (
                reversed_sample(sample, self.inverse_pairs) if self._is_reversed(entry) else sample
            )
        except ItemError as error:
            return entry.video_id, error

    def read(self, entry: ClipEntry) -> CachedClip:
        """Read the sampled frames of a clip. Its header contains the labels of the C classes.

        Raises:
            ItemError: BAD_CACHE if the clip is damaged, does not contain the relation source, or
                contains NaN or infinity.
        """
        reader = self._open(entry)
        clip = reader.read(self._frames(reader, entry), half=True)
        check_finite(clip)
        return replace(clip, header=with_classes(entry.header, self.columns))

    def _load(self, entry: ClipEntry) -> tuple[ClipHeader, Tensor, TokenBatch]:
        """Return the header, the times of the sampled frames and their tokens."""
        kept = self._memory.get(entry.path)
        if kept is None and self._memory.is_full:
            clip = self.read(entry)
            tokens = clip_tokens(clip, self.max_pairs, self.relations).batch
            return clip.header, clip.timestamps_s, tokens
        if kept is None:
            clip = self._open(entry).read(half=True)
            check_finite(clip)
            kept = ClipInMemory.of_clip(clip, self.max_pairs, self.relations)
            self._memory.add(entry.path, kept)
        frames = self._frames(kept.clip, entry)
        header = with_classes(entry.header, self.columns)
        return header, kept.clip.timestamps_s[frames], kept.tokens(frames)

    def _open(self, entry: ClipEntry) -> ClipReader:
        reader = ClipReader(entry.path)
        if self.relations is not None and self.relations not in reader.relations:
            raise ItemError(
                FailureReason.BAD_CACHE,
                f"{entry.video_id}: relations={self.relations} expected, got "
                f"{', '.join(reader.relations) or 'no relations'}. To add them, run "
                f"pipeline.extract with relations={self.relations}",
            )
        return reader

    def _frames(self, clip: ClipReader | CachedClip, entry: ClipEntry) -> list[int]:
        """Return the rows of the sampled frames."""
        rng = self._generator(entry, 0)
        rows = sample_rows(clip, self.num_frames, rng, span=entry.span, ends=self.ends)
        if self.relations == "ground-truth" and clip.header.num_uniform is not None:
            known = clip.has_relations(self.relations).nonzero()[:, 0].tolist()
            rows = [
                known[i] for i in segment_rows(len(known), self.num_frames, rng, ends=self.ends)
            ]
        return rows

    def _is_reversed(self, entry: ClipEntry) -> bool:
        if self.reversed_share in (0, 1):
            return bool(self.reversed_share)
        rng = self._generator(entry, 1)
        assert rng is not None
        return rng.random() < self.reversed_share

    def _generator(self, entry: ClipEntry, stream: int) -> np.random.Generator | None:
        """Return generator number `stream` of a clip in this epoch, or None without a seed."""
        if self.seed is None:
            return None
        return np.random.default_rng([self.seed, self.epoch, _salt(entry, stream)])


def _salt(entry: ClipEntry, stream: int) -> int:
    """Return number `stream` of a clip, which depends only on its id."""
    digest = hashlib.sha256(entry.video_id.encode()).digest()
    return int.from_bytes(digest[8 * stream : 8 * stream + 8], "big")


def clip_dataset(
    card: ModelCard,
    clips: Sequence[ClipEntry],
    *,
    seed: int | None = None,
    relations: bool = False,
    reversed_share: float = 0.0,
    inverse_pairs: Sequence[tuple[int, int]] = (),
    clip_features: ClipFeatures | None = None,
    memory_bytes: int = 0,
) -> ClipDataset:
    """Build the dataset for a network.

    Args:
        card: card of the network.
        clips: clips to read.
        seed: seed of the random frames; None for the centres of the segments.
        relations: whether the tokens carry the predicates that the network is trained on.
        reversed_share: probability that the frames of a sample are reversed.
        inverse_pairs: columns of the two classes of each inverse pair.
        clip_features: clip features of the samples, for a network that reads them.
        memory_bytes: largest number of bytes of clips that are kept in memory.
    """
    return ClipDataset(
        clips,
        len(card.classes),
        num_frames=card.settings.num_frames,
        max_pairs=card.settings.max_pairs,
        relations=card.relations if relations else None,
        seed=seed,
        reversed_share=reversed_share,
        inverse_pairs=inverse_pairs,
        columns=card.columns,
        ends=card.settings.sample_ends,
        shuffle=card.settings.shuffle_frames,
        clip_features=clip_features,
        memory_bytes=memory_bytes,
    )


def check_finite(clip: CachedClip) -> None:
    """Check that the arrays of a clip are finite.

    Raises:
        ItemError: BAD_CACHE if an array contains NaN or infinity.
    """
    names = ("box_features", "union_features", "boxes", "scores", "distribution")
    arrays = {name: getattr(clip, name) for name in names}
    arrays |= {f"predicates/{source}": value for source, value in clip.predicates.items()}
    for name, value in arrays.items():
        if not bool(torch.isfinite(value).all()):
            raise ItemError(
                FailureReason.BAD_CACHE,
                f"{clip.video_id}: finite {name} expected, got NaN or infinity; extract it again",
            )


def sample_rows(
    reader: ClipReader | CachedClip,
    num_frames: int,
    rng: np.random.Generator | None = None,
    *,
    span: tuple[int, int] | None = None,
    ends: bool = False,
) -> list[int]:
    """Return the rows of the sampled frames of a clip.

    Args:
        reader: reader of the clip, or the clip.
        num_frames: maximum number of frames T.
        rng: random number generator that selects a frame of each segment. If None, the centre
            frames are used.
        span: indices of the first and the last frame of the sample; None for the whole clip.
        ends: whether the first and the last frame are always used.

    Returns:
        At most T rows in increasing order. For clips with detected boxes, they are rows of uniform
        frames.
    """
    header, index = reader.header, reader.frame_index.tolist()
    rows = list(range(len(index)))
    if span is not None:
        inside = [number - span[0] for number in index]
        rows = uniform_rows(inside, span[1] - span[0] + 1, header.span_frames or len(index))
    if header.num_uniform is not None:
        rows = uniform_rows(index, header.source.num_frames, header.num_uniform)
    return [rows[i] for i in segment_rows(len(rows), num_frames, rng, ends=ends)]


def collate_samples(items: Sequence[Sample | tuple[str, ItemError]]) -> SampleBatch:
    """Join samples into a batch. Unreadable clips are returned in `failed`."""
    samples = [item for item in items if isinstance(item, Sample)]
    failed = tuple(item for item in items if not isinstance(item, Sample))
    T = max((s.during.shape[1] for s in samples), default=0)
    during = [F.pad(s.during, (0, T - s.during.shape[1])) for s in samples]
    return SampleBatch(
        tuple(s.video_id for s in samples),
        collate_tokens([s.tokens for s in samples]) if samples else None,
        torch.stack([s.labels for s in samples]) if samples else torch.zeros(0, 0),
        torch.stack(during) if samples else torch.zeros(0, 0, 0, dtype=torch.bool),
        failed,
    )


def batches(data: ClipDataset, batch_size: int, *, workers: int = 0) -> Iterator[SampleBatch]:
    """Iterate over the samples of a dataset in batches.

    Args:
        data: the dataset.
        batch_size: number of videos per batch.
        workers: number of worker processes. If 0, clips are read in the main process.
    """
    context = "spawn" if workers else None
    return iter(
        DataLoader(
            data,
            batch_size=batch_size,
            num_workers=workers,
            collate_fn=collate_samples,
            multiprocessing_context=context,
        )
    )


def shuffled_batches(num: int, batch_size: int, draw: tuple[int, int]) -> list[list[int]]:
    """Return the indices 0 to `num` - 1 in shuffled batches; the last one may be smaller.

    Args:
        num: number of samples.
        batch_size: number of samples per batch.
        draw: pair (seed, epoch) that determines the order of the samples.
    """
    generator = torch.Generator().manual_seed(draw[0] * 100_003 + draw[1])
    order = torch.randperm(num, generator=generator).tolist()
    return [order[i : i + batch_size] for i in range(0, num, batch_size)]


def reversed_sample(sample: Sample, pairs: Sequence[tuple[int, int]]) -> Sample:
    """Return a sample with reversed frames.

    Args:
        sample: the sample.
        pairs: columns of the two classes of each inverse pair.

    Returns:
        The reversed sample. A class of a pair has the label and the frames of its inverse. The
        labels of all other classes are NaN, because it is unknown whether they also happen in the
        reversed video.
    """
    labels, during = torch.full_like(sample.labels, float("nan")), sample.during.clone()
    if pairs:
        here, there = [a for a, _ in pairs], [b for _, b in pairs]
        for value, of in ((labels, sample.labels), (during, sample.during)):
            value[here + there] = of[there + here]
    return Sample(sample.video_id, reverse_tokens(sample.tokens), labels, during.flip(1))


def shuffled_sample(sample: Sample, timestamps_s: Tensor, rng: np.random.Generator) -> Sample:
    """Return a sample with its frames in a random order.

    The times of the frames stay as they are; their tokens and the frames of the actions are
    permuted. Each token keeps its track.

    Args:
        sample: the sample.
        timestamps_s: (T,) times of its frames in the video.
        rng: random number generator of the order.
    """
    order = torch.from_numpy(rng.permutation(len(timestamps_s)))
    tokens = reorder_frames(sample.tokens, order)
    times_s = (timestamps_s - timestamps_s[:1]).float()[tokens.mask.nonzero()[:, 1]]
    during = sample.during[:, order]
    return Sample(sample.video_id, replace(tokens, times_s=times_s), sample.labels, during)
