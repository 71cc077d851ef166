"""Cached clips as samples for the network."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model.tokens import TokenBatch
from pipeline.cache.clip import CachedClip, ClipHeader
from pipeline.cache.listing import ClipEntry
from pipeline.cache.reader import ClipReader
from pipeline.decoding.sampling import segment_rows, uniform_rows
from pipeline.errors import FailureReason, ItemError
from pipeline.samples.clip_tokens import clip_tokens, collate_tokens
from pipeline.weights.model_card import ModelCard


@dataclass(frozen=True)
class Sample:
    """One video for the network; `labels` are (C,) float32 of 0 and 1."""

    video_id: str
    tokens: TokenBatch
    labels: Tensor


@dataclass(frozen=True)
class SampleBatch:
    """Several videos; `failed` holds those that could not be read (id, error)."""

    video_ids: tuple[str, ...]
    tokens: TokenBatch | None
    labels: Tensor
    failed: tuple[tuple[str, ItemError], ...]


class ClipDataset(Dataset[Sample | tuple[str, ItemError]]):
    """Samples of T frames.

    In training one random frame of each segment is taken, drawn from (seed, epoch, id): the same
    whatever the number of workers and the order. Otherwise the segments' centres. Of clips with
    detected boxes only the uniform frames count; where annotated relations were carried over to
    them and are asked for, only the frames that have some.

    Args:
        clips: what to read.
        num_classes: C.
        num_frames: T; max_pairs: K.
        relations: source of predicates, or None.
        seed: of the draw, or None for centres.
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
    ) -> None:
        self.clips = list(clips)
        self.num_classes = num_classes
        self.num_frames, self.max_pairs = num_frames, max_pairs
        self.relations, self.seed = relations, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Sample | tuple[str, ItemError]:
        """A sample, or the id with the reason why there is none."""
        entry = self.clips[index]
        try:
            clip = self.read(entry)
            tokens = clip_tokens(clip, self.max_pairs, self.relations).batch
            return Sample(entry.video_id, tokens, class_labels(entry.header, self.num_classes))
        except ItemError as error:
            return entry.video_id, error

    def read(self, entry: ClipEntry) -> CachedClip:
        """The sampled frames of a clip; ItemError BAD_CACHE if it is damaged or not finite."""
        reader = ClipReader(entry.path)
        if self.relations is not None and self.relations not in reader.relations:
            raise ItemError(
                FailureReason.BAD_CACHE,
                f"{entry.video_id}: relations {self.relations!r} expected, the clip has "
                f"{', '.join(reader.relations) or 'none'}; run pipeline.extract with "
                f"relations={self.relations} again",
            )
        rng = None
        if self.seed is not None:
            salt = hashlib.sha256(entry.video_id.encode()).digest()[:8]
            rng = np.random.default_rng([self.seed, self.epoch, int.from_bytes(salt, "big")])
        rows = sample_rows(reader, self.num_frames, rng)
        if self.relations == "ground-truth" and reader.header.num_uniform is not None:
            known = reader.has_relations(self.relations).nonzero()[:, 0].tolist()
            if known:
                rows = [known[i] for i in segment_rows(len(known), self.num_frames, rng)]
        clip = reader.read(rows, half=True)
        check_finite(clip)
        return clip


def clip_dataset(
    card: ModelCard, clips: Sequence[ClipEntry], *, seed: int | None = None, relations: bool = False
) -> ClipDataset:
    """Samples for the network of a card; `relations` carries those that it is trained on."""
    return ClipDataset(
        clips,
        len(card.cache.classes),
        num_frames=card.settings.num_frames,
        max_pairs=card.settings.max_pairs,
        relations=card.relations if relations else None,
        seed=seed,
    )


def check_finite(clip: CachedClip) -> None:
    """ItemError BAD_CACHE if an array of a clip holds NaN or infinity."""
    names = ("box_features", "union_features", "boxes", "scores", "distribution")
    arrays = {name: getattr(clip, name) for name in names}
    arrays |= {f"predicates/{source}": value for source, value in clip.predicates.items()}
    for name, value in arrays.items():
        if not bool(torch.isfinite(value).all()):
            raise ItemError(
                FailureReason.BAD_CACHE,
                f"{clip.video_id}: finite {name} expected, got NaN or infinity; extract again",
            )


def sample_rows(
    reader: ClipReader | CachedClip, num_frames: int, rng: np.random.Generator | None = None
) -> list[int]:
    """The rows of a clip that become T frames of tokens."""
    header, index = reader.header, reader.frame_index.tolist()
    rows = list(range(len(index)))
    if header.num_uniform is not None:
        rows = uniform_rows(index, int(header.source["num_frames"]), header.num_uniform)
    return [rows[i] for i in segment_rows(len(rows), num_frames, rng)]


def collate_samples(items: Sequence[Sample | tuple[str, ItemError]]) -> SampleBatch:
    """Join samples into a batch; unreadable clips are returned in `failed`."""
    samples = [item for item in items if isinstance(item, Sample)]
    failed = tuple(item for item in items if not isinstance(item, Sample))
    labels = [s.labels for s in samples]
    return SampleBatch(
        tuple(s.video_id for s in samples),
        collate_tokens([s.tokens for s in samples]) if samples else None,
        torch.stack(labels) if labels else torch.zeros(0, 0),
        failed,
    )


def batches(
    data: ClipDataset, batch_size: int, *, workers: int = 0, order_seed: int | None = None
) -> Iterator[SampleBatch]:
    """The samples in batches; shuffled by (order_seed, epoch), or in order."""
    draw = None if order_seed is None else (order_seed, data.epoch)
    return iter(epoch_loader(data, batch_size, collate_samples, workers=workers, draw=draw))


def epoch_loader(
    data: Dataset[Any],
    batch_size: int,
    collate: Callable[[list[Any]], Any],
    *,
    workers: int = 0,
    draw: tuple[int, int] | None = None,
) -> DataLoader[Any]:
    """Build the loader of one epoch.

    Args:
        data: dataset with a length.
        batch_size: samples per batch.
        collate: joins samples into a batch.
        workers: processes that read; 0 reads in the main one.
        draw: (seed, epoch) that shuffle the samples; None keeps their order.
    """
    order = list(range(len(data)))  # type: ignore[arg-type]
    if draw is not None:
        generator = torch.Generator().manual_seed(draw[0] * 100_003 + draw[1])
        order = torch.randperm(len(order), generator=generator).tolist()
    return DataLoader(
        data,
        batch_size=batch_size,
        sampler=order,
        num_workers=workers,
        collate_fn=collate,
        # The loader draws a base seed on every epoch; it must not come from the global generator,
        # whose state the dropout of a resumed training continues.
        generator=torch.Generator().manual_seed(0),
        multiprocessing_context="spawn" if workers else None,
    )


def class_labels(header: ClipHeader, num_classes: int) -> Tensor:
    """(C,) float32 of 0 and 1; ItemError BAD_ANNOTATION for a class out of range."""
    labels = torch.zeros(num_classes)
    for action, _, _ in header.actions or ():
        if not 0 <= action < num_classes:
            raise ItemError(
                FailureReason.BAD_ANNOTATION,
                f"{header.video_id}: classes below {num_classes} expected, got {action}",
            )
        labels[action] = 1.0
    return labels
