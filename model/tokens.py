"""What the model eats and what it gives back."""

from dataclasses import dataclass, field, replace

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
    """What one branch says of B videos.

    Attributes:
        logits: (B, C) action logits.
        keep_temporal: (B, T) bool, frames the temporal selector keeps.
        keep_spatial: (B, T, K) bool, tokens the spatial selector keeps.
        keep: (B, T, K) bool, both, and real: what the transformer sees.
        keep_gate: (B, T, K) floating, the same product with gradient (straight-through).
        keep_probability: (B, T, K) floating, product of both selectors' keep probabilities.
        embeddings: (B, T, K, D) tokens in the joint space, zero where not real.
        mask: (B, T, K) bool, the input's mask.
        mimic_logits: (B, C) the video branch's estimate of the language branch (P^{v2s}), or None.
        intermediates: further named tensors.
    """

    logits: Tensor
    keep_temporal: Tensor
    keep_spatial: Tensor
    keep: Tensor
    keep_gate: Tensor
    keep_probability: Tensor
    embeddings: Tensor
    mask: Tensor
    mimic_logits: Tensor | None = None
    intermediates: dict[str, Tensor] = field(default_factory=dict)

    @property
    def num_kept(self) -> Tensor:
        """(B,) int64 tokens kept per video, `Num` of Table 1 before the mean over videos."""
        return self.keep.sum((1, 2))

    @property
    def is_empty_selection(self) -> Tensor:
        """(B,) bool, True where nothing is kept and [class] alone decides."""
        return self.num_kept == 0
