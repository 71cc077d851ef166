"""The baseline that looks at nothing: how often each predicate holds for an object class."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class FrequencyBaseline:
    """Counts of annotated relations, by O object classes and R predicates."""

    def __init__(self, num_objects: int, num_predicates: int) -> None:
        self._pairs = torch.zeros(num_objects, dtype=torch.float64)
        self._counts = torch.zeros(num_objects, num_predicates, dtype=torch.float64)

    def add(self, labels: Int64[Tensor, "P"], predicates: Float[Tensor, "P R"]) -> None:
        """Count pairs by their object's class; those without any predicate are unknown."""
        known = predicates.any(1)
        labels, predicates = labels[known], predicates[known].double()
        self._pairs.index_add_(0, labels, torch.ones(len(labels), dtype=torch.float64))
        self._counts.index_add_(0, labels, predicates)

    @property
    def num_pairs(self) -> int:
        """Pairs that were counted."""
        return int(self._pairs.sum())

    def predict(self, labels: Int64[Tensor, "P"]) -> Float[Tensor, "P R"]:
        """Share of the pairs of each object's class for which a predicate held.

        Classes that were never counted get the shares over all classes.

        Raises:
            ValueError: if no pair was counted: there are no shares then.
        """
        if not self.num_pairs:
            raise ValueError("frequencies: counted pairs expected, there are none")
        overall = self._counts.sum(0) / self._pairs.sum()
        share = self._counts / self._pairs.clamp(min=1)[:, None]
        share = torch.where((self._pairs > 0)[:, None], share, overall)
        return share[labels].float()
