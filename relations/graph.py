"""The human-object pairs of one frame with their predicates."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PredicateSource = Literal["predicted", "ground-truth", "none"]


@dataclass(frozen=True)
class RelationGraph:
    """Parallel arrays over the P pairs of one frame, on one device.

    Attributes:
        pairs: (P, 2) int64 rows of the frame's detections, human first.
        union_boxes: (P, 4) float32 xyxy, pixels of the decoded frame.
        union_features: (P, Cu, 7, 7) float32, pooled on the union boxes.
        predicates: (P, R) float32 in [0, 1]; R = 0 where no relation source was asked for.
        source: where the predicates come from.

    Raises:
        ValueError: if a shape, dtype or range above does not hold, or a pair joins a box to itself.
    """

    pairs: Tensor
    union_boxes: Tensor
    union_features: Tensor
    predicates: Tensor
    source: PredicateSource = "none"

    def __post_init__(self) -> None:
        P = len(self.pairs)
        for name, ndim, tail, dtype in (
            ("pairs", 2, (2,), torch.int64),
            ("union_boxes", 2, (4,), torch.float32),
            ("union_features", 4, (7, 7), torch.float32),
            ("predicates", 2, (), torch.float32),
        ):
            value = getattr(self, name)
            if (
                value.ndim != ndim
                or len(value) != P
                or value.dtype != dtype
                or tuple(value.shape[ndim - len(tail) :]) != tail
            ):
                raise ValueError(
                    f"{name}: ({P}, …, {', '.join(map(str, tail))}) {dtype} with {ndim} dimensions "
                    f"expected, got {tuple(value.shape)} {value.dtype}"
                )
        if P and bool((self.pairs[:, 0] == self.pairs[:, 1]).any()):
            raise ValueError(
                "pairs: a human and another box expected, got a box paired with itself"
            )
        if bool(((self.predicates < 0) | (self.predicates > 1)).any()):
            raise ValueError("predicates: probabilities in [0, 1] expected; apply a sigmoid first")

    def __len__(self) -> int:
        return len(self.pairs)

    @classmethod
    def empty(cls, union_channels: int, num_predicates: int = 0) -> "RelationGraph":
        """Graph of a frame without a human-object pair."""
        return cls(
            torch.zeros(0, 2, dtype=torch.int64),
            torch.zeros(0, 4),
            torch.zeros(0, union_channels, 7, 7),
            torch.zeros(0, num_predicates),
        )
