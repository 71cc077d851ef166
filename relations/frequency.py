"""Frequency baseline, a class-conditional predicate prior."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class FrequencyBaseline:
    """Frequencies of predicates given the object class, counted from annotations.

    Args:
        num_objects: number of object classes, O.
        num_predicates: number of predicates, R.
    """

    def __init__(self, num_objects: int, num_predicates: int) -> None:
        self._pairs = torch.zeros(num_objects, dtype=torch.float64)
        self._counts = torch.zeros(num_objects, num_predicates, dtype=torch.float64)

    def add(self, labels: Int64[Tensor, "P"], predicates: Float[Tensor, "P R"]) -> None:
        """Count annotated pairs.

        Pairs without any annotated predicate are treated as unknown and are not counted.

        Args:
            labels: object class of each pair.
            predicates: annotated predicates of each pair, 0 or 1.
        """
        known = predicates.any(1)
        labels, predicates = labels[known], predicates[known].double()
        self._pairs.index_add_(0, labels, torch.ones(len(labels), dtype=torch.float64))
        self._counts.index_add_(0, labels, predicates)

    @property
    def num_pairs(self) -> int:
        """Number of counted pairs."""
        return int(self._pairs.sum())

    def predict(self, labels: Int64[Tensor, "P"]) -> Float[Tensor, "P R"]:
        """Return the frequency of each predicate among the counted pairs of each object class.

        If a class has no counted pairs, the frequencies over all classes are returned.

        Args:
            labels: object class of each pair.

        Raises:
            ValueError: if no pair has been counted.
        """
        if not self.num_pairs:
            raise ValueError(
                "frequency baseline: counted pairs expected, got none. Call `add` first."
            )
        overall = self._counts.sum(0) / self._pairs.sum()
        share = self._counts / self._pairs.clamp(min=1)[:, None]
        share = torch.where((self._pairs > 0)[:, None], share, overall)
        return share[labels].float()
