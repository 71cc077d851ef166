"""Label bank, which names tokens by their nearest prototypes in the joint space (Section 5)."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from model.labels import THRESHOLD, TokenLabels
from model.tokens import TokenBatch


@dataclass(frozen=True)
class Names:
    """Names of M tokens within one group of predicates.

    Attributes:
        said: (M, size) bool, the predicates of the group in the label of the nearest prototype.
        predicate: (M,) int64 predicate to show: the rarest of `said`, as an index into all
            predicates; -1 if there is none.
        cosine: (M,) cosine similarity to that prototype, 0 if there is no candidate.
        margin: (M,) this cosine similarity minus that of the nearest prototype with other
            predicates of the group, 0 if there is none.
        object: (M,) int64 object class of the nearest prototype, -1 if there is no candidate. If
            the search is constrained, it equals the token's object class.
    """

    said: Tensor
    predicate: Tensor
    cosine: Tensor
    margin: Tensor
    object: Tensor


@dataclass(frozen=True)
class LabelBank:
    """Label bank of E prototypes.

    There are two kinds of banks. With distinct labels, a prototype is the language embedding of a
    label: the classes of human and object with all their predicates. A token then gets the
    predicates of all groups from one prototype. With single predicates, as in the paper, a
    prototype is the mean of the normalised language embeddings of all tokens with the same two
    classes and one predicate. A token then has a nearest prototype in each group.

    Attributes:
        prototypes: (E, D) float32.
        pairs: (E, 2) int64 object classes of the human and the object of each prototype.
        predicates: (E, R) bool, the predicates of each prototype.
        counts: (E,) int64 number of tokens with the label of each prototype.
        group_sizes: number of predicates of each group, in index order.
        is_single: True for a bank with single predicates.

    Raises:
        ValueError: if the shapes of the tensors do not agree, a tensor has another type, or a value
            is out of range.
    """

    prototypes: Tensor
    pairs: Tensor
    predicates: Tensor
    counts: Tensor
    group_sizes: tuple[int, ...]
    is_single: bool = False

    def __post_init__(self) -> None:
        if self.prototypes.ndim != 2:
            shape = tuple(self.prototypes.shape)
            raise ValueError(f"label bank: prototypes: shape (E, D) expected, got {shape}")
        E, R = len(self.prototypes), sum(self.group_sizes)
        for name, shape, dtype in (
            ("prototypes", tuple(self.prototypes.shape), torch.float32),
            ("pairs", (E, 2), torch.int64),
            ("predicates", (E, R), torch.bool),
            ("counts", (E,), torch.int64),
        ):
            value = getattr(self, name)
            if value.ndim != (1 if len(shape) == 1 else 2) or tuple(value.shape) != shape:
                raise ValueError(
                    f"label bank: {name}: shape {shape} expected, got {tuple(value.shape)}"
                )
            if value.dtype != dtype:
                raise ValueError(f"label bank: {name}: {dtype} expected, got {value.dtype}")
        if not bool(self.prototypes.isfinite().all()):
            raise ValueError("label bank: prototypes: finite numbers expected")
        if E and (int(self.pairs.min()) < 0 or int(self.counts.min()) < 1):
            raise ValueError("label bank: object classes from 0 and counts from 1 expected")

    def __len__(self) -> int:
        """Number of prototypes, E."""
        return len(self.pairs)

    def of_pair(self, pair: Int64[Tensor, "2"]) -> Bool[Tensor, "E"]:
        """Return which prototypes have the classes of a token's human and object."""
        return (self.pairs == pair.to(self.pairs)).all(1)

    def name(
        self,
        embeddings: Float[Tensor, "M D"],
        pairs: Int64[Tensor, "M 2"],
        *,
        constrained: bool = True,
    ) -> list[Names]:
        """Find the nearest prototype of each token.

        Args:
            embeddings: embeddings of the tokens in the joint space.
            pairs: object classes of the human and the object of each token, detected or annotated.
            constrained: if True, only prototypes of the token's own classes are candidates.

        Returns:
            One `Names` per group, in the order of `group_sizes`.
        """
        prototypes = F.normalize(self.prototypes.to(embeddings).float(), dim=1)
        cosine = F.normalize(embeddings.float(), dim=1) @ prototypes.T  # (M, E)
        if constrained:
            own = (pairs[:, None] == self.pairs.to(pairs)[None]).all(2)
            cosine = cosine.masked_fill(~own, float("-inf"))
        named = []
        start = 0
        for size in self.group_sizes:
            named.append(self._name_group(cosine, range(start, start + size)))
            start += size
        return named

    def _name_group(self, cosine: Float[Tensor, "M E"], span: range) -> Names:
        predicates = self.predicates.to(cosine.device)
        inside = predicates[:, span.start : span.stop]  # (E, size)
        rows = torch.arange(len(inside), device=cosine.device)
        if self.is_single:
            rows = inside.any(1).nonzero()[:, 0]
        M = len(cosine)
        if not len(rows):
            none, zero = torch.full((M,), -1, device=cosine.device), cosine.new_zeros(M)
            return Names(inside.new_zeros(M, len(span)), none, zero, zero.clone(), none.clone())
        cosine, inside = cosine[:, rows], inside[rows]
        best, place = cosine.max(1)
        known = best.isfinite()
        said = inside[place] & known[:, None]
        kinds = inside.unique(dim=0, return_inverse=True)[1]  # equal numbers: equal predicates
        other = cosine.masked_fill(kinds[None] == kinds[place][:, None], float("-inf")).amax(1)
        has_other = known & other.isfinite()
        # Predicates that occur together differ in how much they say: the rarest is shown.
        count = (self.counts.to(predicates.device)[:, None] * predicates).sum(0)
        count = count[span.start : span.stop].double()
        rarest = count.masked_fill(~said, float("inf")).argmin(1)
        objects = self.pairs[:, 1].to(cosine.device)[rows][place]
        return Names(
            said,
            torch.where(said.any(1), rarest + span.start, -1),
            torch.where(known, best, 0.0),
            torch.where(has_other, best - other, 0.0),
            torch.where(known, objects, -1),
        )


class LabelBankBuilder:
    """Builder of a `LabelBank` with single predicates, which averages language embeddings.

    Args:
        group_sizes: number of predicates of each group, in index order.
        dim: width of the embeddings, D.
    """

    def __init__(self, group_sizes: Sequence[int], dim: int) -> None:
        self.group_sizes, self.dim = tuple(group_sizes), dim
        self._sums: dict[tuple[int, ...], Tensor] = {}
        self._counts: Counter[tuple[int, ...]] = Counter()

    def add(self, embeddings: Float[Tensor, "B T K D"], batch: TokenBatch) -> None:
        """Add the real tokens of a batch.

        A token is added to the prototype of each predicate of its label (`THRESHOLD`).

        Args:
            embeddings: language embeddings of the batch.
            batch: batch with predicates.
        """
        assert batch.predicates is not None
        token, predicate = (batch.predicates >= THRESHOLD).nonzero(as_tuple=True)
        rows = torch.cat([batch.pairs[token], predicate[:, None]], 1).cpu()
        kinds, kind, counts = rows.unique(dim=0, return_inverse=True, return_counts=True)
        packed = F.normalize(embeddings[batch.mask].double(), dim=1)[token].cpu()
        sums = packed.new_zeros(len(kinds), self.dim).index_add_(0, kind, packed)
        for key, total, count in zip(map(tuple, kinds.tolist()), sums, counts, strict=True):
            self._sums[key] = self._sums.get(key, 0) + total
            self._counts[key] += int(count)

    def build(self) -> LabelBank:
        """Return a label bank with one prototype per two classes and predicate that occur."""
        keys = sorted(self._sums)
        counts = torch.tensor([self._counts[key] for key in keys], dtype=torch.int64)
        found = torch.tensor(keys, dtype=torch.int64).view(len(keys), 3)
        sums = torch.zeros(len(keys), self.dim, dtype=torch.float64)
        for row, key in zip(sums, keys, strict=True):
            row += self._sums[key]
        said = F.one_hot(found[:, 2], sum(self.group_sizes)).bool()
        means = (sums / counts[:, None]).float()
        return LabelBank(means, found[:, :2], said, counts, self.group_sizes, is_single=True)


def distinct_bank(
    prototypes: Float[Tensor, "E D"], labels: TokenLabels, group_sizes: Sequence[int]
) -> LabelBank:
    """Return a label bank with distinct labels.

    Args:
        prototypes: language embeddings of the labels.
        labels: the labels.
        group_sizes: number of predicates of each group, in index order.
    """
    return LabelBank(
        prototypes.float().cpu(),
        labels.pairs.cpu(),
        labels.predicates.cpu(),
        labels.counts.cpu(),
        tuple(group_sizes),
    )
