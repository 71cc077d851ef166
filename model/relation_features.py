"""Visual (Eq. 1) and semantic (Eq. 2) relation features of tokens."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from model.labels import THRESHOLD
from model.tokens import TokenBatch

#: Width of a class embedding, as in STTran.
CLASS_WIDTH = 200


class VisualRelation(nn.Module):
    """Visual relation features (Eq. 1): [W_s v_i, W_o v_j, W_u flatten(u_ij + f_box(b_i, b_j))].

    Args:
        box_features: width of the box features v, F.
        union_channels: channels of the union features, Cu.
        part_width: width of each of the three parts.
        union_width: channels of u and f_box.
        num_objects: number of object classes, O. If it is not None, embeddings of the classes of
            human and object are appended, as in STTran and in the text of the paper ("category
            embedding"). If None, nothing is appended, as in Eq. 1.

    Attributes:
        width: width of the features, W.
    """

    def __init__(
        self,
        box_features: int,
        union_channels: int,
        *,
        part_width: int = 512,
        union_width: int = 256,
        num_objects: int | None = None,
    ) -> None:
        super().__init__()
        self.human = nn.Linear(box_features, part_width)
        self.object = nn.Linear(box_features, part_width)
        self.union = nn.Conv2d(union_channels, union_width, 1)
        self.box = SpatialEncoder(union_width)
        self.relation = nn.Linear(union_width * 7 * 7, part_width)
        self.human_class = nn.Embedding(num_objects, CLASS_WIDTH) if num_objects else None
        self.object_class = nn.Embedding(num_objects, CLASS_WIDTH) if num_objects else None
        self.width = 3 * part_width + (2 * CLASS_WIDTH if num_objects else 0)

    def forward(self, batch: TokenBatch) -> Float[Tensor, "M W"]:
        """Compute the features of the packed tokens."""
        union = self.union(batch.union_features) + self.box(batch.spatial_masks)  # (M, U, 7, 7)
        parts = [
            self.human(batch.human_features),
            self.object(batch.object_features),
            self.relation(union.flatten(1)),
        ]
        if self.human_class is not None and self.object_class is not None:
            parts += [self.human_class(batch.human_labels), self.object_class(batch.object_labels)]
        return torch.cat(parts, 1)


class SpatialEncoder(nn.Module):
    """Encoder f_box of Eq. 1 for the two 27x27 masks of a pair, as in STTran.

    The statistics of batch normalisation are computed over real tokens only (`TokenNorm`).

    Args:
        width: number of output channels, U.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, width // 2, 7, 2, 3)
        self.first_norm = TokenNorm(width // 2)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.second = nn.Conv2d(width // 2, width, 3, 1, 1)
        self.second_norm = TokenNorm(width)

    def forward(self, masks: Float[Tensor, "M 2 27 27"]) -> Float[Tensor, "M U 7 7"]:
        """Encode masks with values in [-1/2, 1/2]."""
        # Pooling and convolutions of few channels are twice as fast with channels last. Batch
        # normalisation is then inaccurate on a CPU, because torch sums in the order of the memory.
        last = torch.channels_last
        x = self.first(masks.contiguous(memory_format=last)).relu_()
        x = self.pool(self.first_norm(x.contiguous()).contiguous(memory_format=last))
        x = self.second(x).relu_()  # (M, U, 7, 7)
        encoded: Tensor = self.second_norm(x.contiguous())
        return encoded


class TokenNorm(nn.BatchNorm2d):
    """Batch normalisation that also accepts no tokens, and a single one.

    In training mode with fewer than two tokens, the running statistics are used and are not
    updated.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (M, C, H, W) features of M tokens."""
        if self.training and len(x) < 2:
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


class SemanticRelation(nn.Module):
    """Semantic relation features (Eq. 2): [s_i, r_ij, s_j].

    s_i and s_j are embeddings of the object classes. r_ij consists of one mean predicate embedding
    per group.

    Args:
        num_objects: number of object classes, O.
        group_sizes: maps each predicate group to its number of predicates, in the column order of
            `predicates`.
        width: width of each embedding.
        pooling: method of averaging. `active` averages the predicates of the token's label, with a
            score of at least `THRESHOLD`. `soft` averages all predicates, weighted by their scores.
            If the weights of a group sum to zero, its embedding is zero.

    Attributes:
        width: width of the features, W.

    Raises:
        ValueError: if `pooling` is unknown.
    """

    def __init__(
        self,
        num_objects: int,
        group_sizes: dict[str, int],
        *,
        width: int = CLASS_WIDTH,
        pooling: str = "active",
    ) -> None:
        super().__init__()
        if pooling not in ("active", "soft"):
            raise ValueError(f"pooling: active or soft expected, got {pooling!r}")
        self.pooling = pooling
        self.group_sizes = list(group_sizes.values())
        self.human = nn.Embedding(num_objects, width)
        self.object = nn.Embedding(num_objects, width)
        self.predicate = nn.Embedding(sum(self.group_sizes), width)
        self.width = (2 + len(self.group_sizes)) * width

    def forward(self, batch: TokenBatch) -> Float[Tensor, "M W"]:
        """Compute the features of the packed tokens.

        Raises:
            ValueError: if the batch has no predicates.
        """
        if batch.predicates is None:
            raise ValueError(
                "predicates: the language branch requires relations, but the batch has none"
            )
        return self.encode(batch.human_labels, batch.object_labels, batch.predicates)

    def encode(
        self,
        human_labels: Int64[Tensor, "M"],
        object_labels: Int64[Tensor, "M"],
        predicates: Float[Tensor, "M R"],
    ) -> Float[Tensor, "M W"]:
        """Compute the features of labels.

        Args:
            human_labels: object class of the human.
            object_labels: object class of the object.
            predicates: scores of the predicates in [0, 1].
        """
        weights = predicates.to(self.predicate.weight.dtype)
        if self.pooling == "active":
            weights = (weights >= THRESHOLD).to(weights)
        groups = []
        start = 0
        for size in self.group_sizes:
            mine = weights[:, start : start + size]
            total = mine @ self.predicate.weight[start : start + size]
            share = mine.sum(1, keepdim=True)
            groups.append(total / share.clamp(min=1e-6))
            start += size
        return torch.cat([self.human(human_labels), *groups, self.object(object_labels)], 1)
