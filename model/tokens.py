"""Input type `TokenBatch` and output types `ActionOutput` and `BranchOutputs` of LaIAR."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from model.labels import LabelTargets


@dataclass(frozen=True)
class TokenBatch:
    """Tokens of B videos with T frames each and at most K tokens per frame.

    A token is one human-object pair in one frame. The tokens are packed, so that padding uses no
    memory. Row m of every (M, …) tensor belongs to the m-th True of `mask` in row-major order.

    Attributes:
        mask: (B, T, K) bool, True for real tokens. K may be 0, and frames may have no tokens.
        human_features: (M, F) floating-point box features of the human.
        object_features: (M, F) floating-point box features of the object.
        union_features: (M, Cu, 7, 7) floating-point features of the union box.
        spatial_masks: (M, 2, 27, 27) floating-point values in [-0.5, 0.5]. Channel 0 is the human.
            Channel 1 is the object.
        human_labels: (M,) int64 object class of the human.
        object_labels: (M,) int64 object class of the object.
        times_s: (M,) floating time of the token's frame in seconds after the first sampled frame.
        tracks: (M,) int64 track of the object; equal numbers mark one object within a video.
        predicates: (M, R) floating in [0, 1], or None without a relation source.
        clip_features: (B, W) floating-point vectors of the whole videos (`ClipReadout`), or None.

    Raises:
        ValueError: if a field does not have the shape given above.
    """

    mask: Tensor
    human_features: Tensor
    object_features: Tensor
    union_features: Tensor
    spatial_masks: Tensor
    human_labels: Tensor
    object_labels: Tensor
    times_s: Tensor
    tracks: Tensor
    predicates: Tensor | None = None
    clip_features: Tensor | None = None

    def __post_init__(self) -> None:
        if self.mask.ndim != 3 or self.mask.dtype != torch.bool:
            raise ValueError(
                f"mask: (B, T, K) bool expected, got {tuple(self.mask.shape)} {self.mask.dtype}"
            )
        M = int(self.mask.sum())
        for name, ndim in (
            ("human_features", 2),
            ("object_features", 2),
            ("union_features", 4),
            ("spatial_masks", 4),
            ("human_labels", 1),
            ("object_labels", 1),
            ("times_s", 1),
            ("tracks", 1),
            ("predicates", 2),
        ):
            value = getattr(self, name)
            if value is not None and (value.ndim != ndim or len(value) != M):
                raise ValueError(
                    f"{name}: {ndim} dimensions and {M} rows (one per True of mask) expected, got "
                    f"{tuple(value.shape)}"
                )
        clips = self.clip_features
        if clips is not None and (clips.ndim != 2 or len(clips) != len(self.mask)):
            raise ValueError(
                f"clip_features: ({len(self.mask)}, W) expected, got {tuple(clips.shape)}"
            )

    @property
    def packed(self) -> dict[str, Tensor]:
        """Tensors with a row per token, by name."""
        per_video = ("mask", "clip_features")
        rows = vars(self).items()
        return {name: v for name, v in rows if v is not None and name not in per_video}

    @property
    def pairs(self) -> Tensor:
        """(M, 2) int64 object classes of the human and the object of each token."""
        return torch.stack([self.human_labels, self.object_labels], 1)

    @property
    def grid(self) -> "TokenGrid":
        """Places, times and tracks of the tokens."""
        times = torch.zeros(self.mask.shape, dtype=self.times_s.dtype, device=self.mask.device)
        tracks = torch.zeros_like(self.mask, dtype=self.tracks.dtype)
        return TokenGrid(
            self.mask,
            times.masked_scatter(self.mask, self.times_s),
            tracks.masked_scatter(self.mask, self.tracks),
        )

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.mask)

    def only(self, keep: Tensor) -> "TokenBatch":
        """Return a batch of the same shape (B, T, K) with only the tokens in `keep`.

        Args:
            keep: (B, T, K) bool.
        """
        rows = keep[self.mask]
        packed = {name: value[rows] for name, value in self.packed.items()}
        return replace(self, mask=self.mask & keep, **packed)

    def to(self, device: torch.device | str) -> "TokenBatch":
        """Return a copy on a device."""
        # A copy to the CPU must block: without a synchronisation, its values are read too early.
        to_gpu = torch.device(device).type != "cpu"
        moved = {
            name: value.to(device, non_blocking=to_gpu)
            for name, value in vars(self).items()
            if value is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class TokenGrid:
    """Places, times and tracks of the tokens of B videos.

    Attributes:
        mask: (B, T, K) bool, True for real tokens.
        times_s: (B, T, K) floating times in seconds, zero for padding.
        tracks: (B, T, K) int64 tracks, zero for padding.
    """

    mask: Tensor
    times_s: Tensor
    tracks: Tensor

    def only(self, rows: Tensor) -> "TokenGrid":
        """Return a grid in which only some tokens are real.

        Args:
            rows: (M,) bool, True for the tokens to keep, in the row order of `TokenBatch`.
        """
        mask = torch.zeros_like(self.mask).masked_scatter(self.mask, rows)
        return TokenGrid(mask, self.times_s, self.tracks)

    def within(self, keep: Tensor) -> "TokenGrid":
        """Return a grid in which only the tokens in `keep`, (B, T, K) bool, are real."""
        return TokenGrid(self.mask & keep, self.times_s, self.tracks)

    def videos(self, index: Tensor) -> "TokenGrid":
        """Return the grid of some videos, given by their indices (n,)."""
        return TokenGrid(*(value[index] for value in vars(self).values()))

    def repeat(self, num: int) -> "TokenGrid":
        """Return a grid of `num` B videos, which repeats the B videos `num` times."""
        return TokenGrid(*(value.repeat(num, 1, 1) for value in vars(self).values()))


@dataclass(frozen=True)
class ActionOutput:
    """Output of one branch for B videos.

    Attributes:
        logits: (B, C) action logits.
        keep_temporal: (B, T) bool, frames that the temporal selector keeps; with selector=subset
            and with a given mask, frames with a kept token.
        usable: (B, T, K) bool, tokens that the branch can use: real tokens and, with reading, only
            those that are read as a label with predicates.
        keep_spatial: (B, T, K) bool, usable tokens that the spatial selector keeps.
        keep: (B, T, K) bool, kept tokens. These are the usable tokens that both selectors keep, or
            the usable tokens in the mask `keep` that was passed to `LaIAR.recognize`.
        keep_gate: (B, T, K) floating-point, `keep` with a straight-through gradient.
        keep_probability: (B, T, K) floating-point, probability with which the selectors draw each
            token in training. If a mask of tokens to keep was provided, this field equals
            `keep_gate`.
        embeddings: (B, T, K, D) embeddings in the joint space, zero for padding.
        mimic_logits: (B, C) estimate of the language branch's logits by the video branch (P^{v2s}),
            or None in the output of the language branch.
        clip_logits: (B, C) part of `logits` that the clip features add, or None without them.
    """

    logits: Tensor
    keep_temporal: Tensor
    usable: Tensor
    keep_spatial: Tensor
    keep: Tensor
    keep_gate: Tensor
    keep_probability: Tensor
    embeddings: Tensor
    mimic_logits: Tensor | None = None
    clip_logits: Tensor | None = None

    @property
    def num_kept(self) -> Tensor:
        """Number of kept tokens per video, (B,) int64. Its mean over videos is `Num` of Table 1."""
        return self.keep.sum((1, 2))


@dataclass(frozen=True)
class BranchOutputs:
    """Outputs of both branches.

    Attributes:
        video: output of the video branch, or None if only the language branch ran.
        language: output of the language branch, or None if the batch has no predicates.
        targets: labels of the tokens; None without reading or without predicates.
        selection: loss of the selectors, or None with selector=gumbel, for which the criterion
            computes L_tss. It is 0 if the selectors were not trained.
        drawn: mean number of tokens per video in the subsets that the selectors drew, or None if
            they were not trained.
        excerpts: (n, B, C) logits of the language branch for n excerpts of each video, or None.
    """

    video: ActionOutput | None
    language: ActionOutput | None
    targets: LabelTargets | None = None
    selection: Tensor | None = None
    drawn: Tensor | None = None
    excerpts: Tensor | None = None
