"""Human-object pairs of one frame with their predicates."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

PredicateSource = Literal["predicted", "ground-truth", "none"]


@dataclass(frozen=True)
class RelationGraph:
    """P human-object pairs of one frame with union features and predicates.

    All tensors have one row per pair and are on the same device.

    Attributes:
        pairs: (P, 2) int64 rows of the frame's detections, human first. A pair of a box with itself
            carries the state of an object.
        union_boxes: (P, 4) float32, xyxy, pixels of the decoded frame.
        union_features: (P, Cu, 7, 7) float32 features pooled on the union boxes.
        predicates: (P, R) float32 in [0, 1]. R is 0 if there is no relation source.
        source: relation source of the predicates, `predicted`, `ground-truth` or `none`.

    Raises:
        ValueError: if a field does not have the shape, dtype and range given above.

    Example::

        >>> import torch
        >>> from relations.boxes import union_boxes
        >>> from relations.graph import RelationGraph
        >>> boxes = torch.tensor([[10.0, 0.0, 40.0, 90.0], [30.0, 50.0, 60.0, 70.0]])
        >>> pairs = torch.tensor([[0, 1]])  # the human in row 0 and the object in row 1
        >>> graph = RelationGraph(
        ...     pairs=pairs,
        ...     union_boxes=union_boxes(boxes[pairs[:, 0]], boxes[pairs[:, 1]]),
        ...     union_features=torch.zeros(1, 16, 7, 7),
        ...     predicates=torch.tensor([[0.25, 0.75]]),
        ...     source="predicted",
        ... )
        >>> len(graph)
        1
        >>> graph.union_boxes
        tensor([[10.,  0., 60., 90.]])
        >>> len(RelationGraph.empty(union_channels=16))
        0
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
        if bool(((self.predicates < 0) | (self.predicates > 1)).any()):
            raise ValueError("predicates: probabilities in [0, 1] expected. Apply a sigmoid first")

    def __len__(self) -> int:
        return len(self.pairs)

    @classmethod
    def empty(cls, union_channels: int, num_predicates: int = 0) -> "RelationGraph":
        """Return the graph of a frame without human-object pairs.

        Args:
            union_channels: channels of the union features, Cu.
            num_predicates: number of predicates, R.
        """
        return cls(
            torch.zeros(0, 2, dtype=torch.int64),
            torch.zeros(0, 4),
            torch.zeros(0, union_channels, 7, 7),
            torch.zeros(0, num_predicates),
        )
