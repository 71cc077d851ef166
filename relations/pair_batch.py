"""Pairs of several videos, which are the input of the relation predictor."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from torch import Tensor

_PER_BOX = ("features", "labels")
_PER_PAIR = ("union_features", "spatial_masks")


@dataclass(frozen=True)
class PairBatch:
    """P pairs of N boxes in T frames of B videos.

    Pairs are sorted by frame. Frames are sorted by video and time.

    Attributes:
        features: (N, F) float32 box features.
        labels: (N,) int64 object classes. Class 0 is the person.
        pairs: (P, 2) int64 rows of the boxes, human first.
        union_features: (P, Cu, 7, 7) float32 union features.
        spatial_masks: (P, 2, 27, 27) float32 in [-1/2, 1/2], human first.
        pairs_per_frame: (T,) int64 number of pairs of each frame, which may be 0.
        frames_per_video: (B,) int64 number of frames of each video.

    Raises:
        ValueError: if the fields have inconsistent lengths, or a pair refers to a box that does not
            exist.
    """

    features: Tensor
    labels: Tensor
    pairs: Tensor
    union_features: Tensor
    spatial_masks: Tensor
    pairs_per_frame: Tensor
    frames_per_video: Tensor

    def __post_init__(self) -> None:
        N, P = len(self.features), len(self.pairs)
        wanted = {"labels": N, "union_features": P, "spatial_masks": P}
        for name, rows in wanted.items():
            if len(getattr(self, name)) != rows:
                raise ValueError(f"{name}: {rows} rows expected, got {len(getattr(self, name))}")
        sums = {"pairs_per_frame": P, "frames_per_video": len(self.pairs_per_frame)}
        for name, total in sums.items():
            counts = getattr(self, name)
            if bool((counts < 0).any()) or int(counts.sum()) != total:
                raise ValueError(f"{name}: counts that sum to {total} expected, got {counts}")
        if P and not 0 <= int(self.pairs.min()) <= int(self.pairs.max()) < N:
            raise ValueError(
                f"pairs: rows from 0 to {N - 1} expected, got {int(self.pairs.min())} to "
                f"{int(self.pairs.max())}"
            )

    def __len__(self) -> int:
        """Number of videos, B."""
        return len(self.frames_per_video)

    @property
    def pair_frame(self) -> Tensor:
        """(P,) int64 frame index of each pair, counted over all frames of the batch."""
        return torch.repeat_interleave(self.pairs_per_frame)

    def keep(self, mask: Tensor) -> "PairBatch":
        """Return a batch with the same boxes and frames but only the pairs in `mask`.

        Args:
            mask: (P,) bool.
        """
        counts = torch.bincount(self.pair_frame[mask], minlength=len(self.pairs_per_frame))
        some = {name: getattr(self, name)[mask] for name in ("pairs", *_PER_PAIR)}
        return replace(self, pairs_per_frame=counts, **some)

    def to(self, device: torch.device | str) -> "PairBatch":
        """Return a copy on a device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items()})


def join_pairs(batches: Sequence[PairBatch]) -> PairBatch:
    """Concatenate the videos of several batches into one batch."""
    shifts = accumulate((len(batch.features) for batch in batches), initial=0)
    pairs = [batch.pairs + shift for batch, shift in zip(batches, shifts, strict=False)]
    joined = {
        name: torch.cat([getattr(batch, name) for batch in batches])
        for name in (*_PER_BOX, *_PER_PAIR, "pairs_per_frame", "frames_per_video")
    }
    return PairBatch(pairs=torch.cat(pairs), **joined)
