"""Input and output of LaIAR: `TokenBatch` and `ActionOutput`."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class TokenBatch:
    """Human-object pairs of B videos, T frames each, at most K pairs per frame.

    A token is one pair in one frame. Its arrays are packed: row m of every (M, …) array belongs to
    the m-th True of `mask` in row-major order, so padding costs no memory.

    Attributes:
        mask: (B, T, K) bool, True where a token is real. K = 0 and frames without tokens are fine.
        human_features: (M, F) floating box features of the human.
        object_features: (M, F) floating box features of the object.
        union_features: (M, Cu, 7, 7) floating features of the union box.
        spatial_masks: (M, 2, 27, 27) floating in [-0.5, 0.5], human then object.
        human_labels: (M,) int64 object class of the human.
        object_labels: (M,) int64 object class of the object.
        predicates: (M, R) floating in [0, 1], or None when no relation source is at hand.

    Raises:
        ValueError: if the lengths or shapes above do not agree.
    """

    mask: Tensor
    human_features: Tensor
    object_features: Tensor
    union_features: Tensor
    spatial_masks: Tensor
    human_labels: Tensor
    object_labels: Tensor
    predicates: Tensor | None = None

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
            ("predicates", 2),
        ):
            value = getattr(self, name)
            if value is not None and (value.ndim != ndim or len(value) != M):
                raise ValueError(
                    f"{name}: {ndim} dimensions and {M} rows (one per True of mask) expected, got "
                    f"{tuple(value.shape)}"
                )

    def __len__(self) -> int:
        """Number of videos."""
        return len(self.mask)

    def only(self, keep: Tensor) -> "TokenBatch":
        """The same grid with the tokens outside `keep` (B, T, K) taken out."""
        rows = keep[self.mask]
        packed = {
            name: value[rows]
            for name, value in vars(self).items()
            if value is not None and name != "mask"
        }
        return replace(self, mask=self.mask & keep, **packed)

    def to(self, device: torch.device | str) -> "TokenBatch":
        """Copy to a device."""
        moved = {
            name: value.to(device, non_blocking=True)
            for name, value in vars(self).items()
            if value is not None
        }
        return replace(self, **moved)


@dataclass(frozen=True)
class ActionOutput:
    """Output of one branch for B videos.

    Attributes:
        logits: (B, C) action logits.
        keep_temporal: (B, T) bool, frames that the temporal selector keeps.
        keep_spatial: (B, T, K) bool, real tokens that the spatial selector keeps.
        keep: (B, T, K) bool, real tokens that both selectors keep, or that the caller of
            `LaIAR.recognize` gave; the transformer attends to these.
        keep_gate: (B, T, K) floating, `keep` with gradient (straight-through).
        keep_probability: (B, T, K) floating, product of both selectors' keep probabilities.
        embeddings: (B, T, K, D) tokens in the joint space, zero where not real.
        mimic_logits: (B, C) the video branch's estimate of the language branch (P^{v2s}), or None.
    """

    logits: Tensor
    keep_temporal: Tensor
    keep_spatial: Tensor
    keep: Tensor
    keep_gate: Tensor
    keep_probability: Tensor
    embeddings: Tensor
    mimic_logits: Tensor | None = None

    @property
    def num_kept(self) -> Tensor:
        """(B,) int64 tokens kept per video, `Num` of Table 1 before the mean over videos."""
        return self.keep.sum((1, 2))
