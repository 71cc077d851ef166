"""Label bank, which names tokens by their nearest prototypes in the joint space (Section 5)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Float, Int64
from torch import Tensor

from model.tokens import TokenBatch


@dataclass(frozen=True)
class Names:
    """Names of M tokens within one group of predicates.

    Attributes:
        predicate: (M,) int64 predicate of the nearest prototype, -1 if there is no candidate.
        cosine: (M,) cosine similarity to that prototype, 0 if there is no candidate.
        margin: (M,) best minus second-best cosine similarity, 0 if there are fewer than two
            candidates.
        object: (M,) int64 object class of the nearest prototype, -1 if there is no candidate. If
            the search is constrained, it equals the token's object class.
    """

    predicate: Tensor
    cosine: Tensor
    margin: Tensor
    object: Tensor


@dataclass(frozen=True)
class LabelBank:
    """Label bank of E prototypes.

    Each prototype belongs to one object class and one predicate. It is the mean of the normalised
    language embeddings of all tokens with this object class and predicate.

    Attributes:
        prototypes: (E, D) float32.
        objects: (E,) int64 object class of each prototype.
        predicates: (E,) int64 predicate of each prototype.
        counts: (E,) int64 number of tokens averaged in each prototype.
        group_sizes: number of predicates of each group, in index order.

    Raises:
        ValueError: if the four tensors have different lengths, `prototypes` is not a matrix, or a
            predicate is out of range.
    """

    prototypes: Tensor
    objects: Tensor
    predicates: Tensor
    counts: Tensor
    group_sizes: tuple[int, ...]

    def __post_init__(self) -> None:
        lengths = {len(v) for v in (self.prototypes, self.objects, self.predicates, self.counts)}
        if len(lengths) != 1 or self.prototypes.ndim != 2:
            raise ValueError(
                "label bank: (E, D) prototypes with E objects, predicates and counts expected, got "
                f"prototypes of shape {tuple(self.prototypes.shape)} and lengths {sorted(lengths)}"
            )
        if len(self.predicates) and not (
            0 <= int(self.predicates.min()) <= int(self.predicates.max()) < sum(self.group_sizes)
        ):
            raise ValueError(
                f"label bank: predicates from 0 to {sum(self.group_sizes) - 1} expected, got "
                f"{int(self.predicates.min())} to {int(self.predicates.max())}"
            )

    def __len__(self) -> int:
        """Number of prototypes, E."""
        return len(self.objects)

    def name(
        self,
        embeddings: Float[Tensor, "M D"],
        object_labels: Int64[Tensor, "M"],
        *,
        constrained: bool = True,
    ) -> list[Names]:
        """Find the nearest prototype of each token in each group of predicates.

        Args:
            embeddings: embeddings of the tokens in the joint space.
            object_labels: object class of each token, detected or annotated.
            constrained: if True, only prototypes of the token's own object class are candidates.

        Returns:
            One `Names` per group, in the order of `group_sizes`.
        """
        prototypes = F.normalize(self.prototypes.to(embeddings), dim=1)
        cosine = F.normalize(embeddings.float(), dim=1) @ prototypes.T  # (M, E)
        if constrained:
            own = object_labels[:, None] == self.objects.to(object_labels)[None]
            cosine = cosine.masked_fill(~own, float("-inf"))
        named = []
        start = 0
        for size in self.group_sizes:
            inside = (self.predicates >= start) & (self.predicates < start + size)
            named.append(self._nearest(cosine, inside.nonzero()[:, 0].to(cosine.device)))
            start += size
        return named

    def _nearest(self, cosine: Tensor, rows: Tensor) -> Names:
        M = len(cosine)
        padded = F.pad(cosine[:, rows], (0, 2), value=float("-inf"))
        best, place = padded.topk(2, dim=1)
        known = best[:, 0].isfinite()
        entry = F.pad(rows, (0, 2))[place[:, 0]].to(self.predicates.device)
        lead = torch.where(best[:, 1].isfinite(), best[:, 0] - best[:, 1], 0.0)
        nothing = torch.full((M,), -1, device=cosine.device)
        if not len(self):
            zero = torch.zeros(M, device=cosine.device)
            return Names(nothing, zero, zero.clone(), nothing.clone())
        return Names(
            torch.where(known, self.predicates[entry].to(cosine.device), nothing),
            torch.where(known, best[:, 0], 0.0),
            torch.where(known, lead, 0.0),
            torch.where(known, self.objects[entry].to(cosine.device), nothing),
        )


class LabelBankBuilder:
    """Builder of a `LabelBank` that accumulates and averages language embeddings.

    Args:
        num_objects: number of object classes, O.
        group_sizes: number of predicates of each group, in index order.
        dim: width of the embeddings, D.
    """

    def __init__(self, num_objects: int, group_sizes: Sequence[int], dim: int) -> None:
        self.group_sizes = tuple(group_sizes)
        R = sum(self.group_sizes)
        self._sums = torch.zeros(num_objects, R, dim, dtype=torch.float64)
        self._counts = torch.zeros(num_objects, R, dtype=torch.int64)

    def add(self, embeddings: Float[Tensor, "B T K D"], batch: TokenBatch) -> None:
        """Add the real tokens of a batch.

        A token is added to the prototype of each predicate whose score is at least 0.5.

        Args:
            embeddings: language embeddings of the batch.
            batch: batch with predicates.
        """
        assert batch.predicates is not None
        token, predicate = (batch.predicates >= 0.5).nonzero(as_tuple=True)
        place = (batch.object_labels[token].cpu(), predicate.cpu())
        packed = F.normalize(embeddings[batch.mask].double(), dim=1)
        self._sums.index_put_(place, packed[token].cpu(), accumulate=True)
        self._counts.index_put_(place, torch.ones(len(token), dtype=torch.int64), accumulate=True)

    def build(self) -> LabelBank:
        """Return a label bank with one prototype per (object class, predicate) that occurs."""
        objects, predicates = self._counts.nonzero(as_tuple=True)
        counts = self._counts[objects, predicates]
        means = (self._sums[objects, predicates] / counts[:, None]).float()
        return LabelBank(means, objects, predicates, counts, self.group_sizes)
