"""Exponential moving average of the weights of a network."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class WeightAverage:
    """Exponential moving average of the weights of a network.

        a_n = d a_(n-1) + (1 - d) w_n,    d = min(decay, (1 + n) / (10 + n))

    w_n are the weights after step n. The smaller decay of the first steps forgets the initial
    weights. The running statistics of batch normalisation are averaged like weights.

    Args:
        model: network, whose weights the optimiser changes in place.
        decay: largest decay d, from 0 to below 1.

    Attributes:
        values: average of each floating-point tensor of the network, by its name.
        count: number of steps, n.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self._model, self._decay, self.count = model, decay, 0
        self.values = {name: value.clone() for name, value in self._own().items()}

    def _own(self) -> dict[str, Tensor]:
        state = self._model.state_dict()
        return {name: value for name, value in state.items() if value.is_floating_point()}

    def update(self) -> None:
        """Add the weights after a step of the optimiser."""
        self.count += 1
        decay = min(self._decay, (1 + self.count) / (10 + self.count))
        for name, value in self._own().items():
            self.values[name].lerp_(value, 1 - decay)

    def apply(self) -> None:
        """Replace the weights of the network by the averaged weights."""
        self._copy(self.values, self._own())

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the network the averaged weights while the context is open."""
        before = {name: value.clone() for name, value in self._own().items()}
        self.apply()
        try:
            yield
        finally:
            self._copy(before, self._own())

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        return {"values": self.values, "count": self.count}

    def restore(self, state: Mapping[str, object]) -> None:
        """Restore the state of a checkpoint.

        Raises:
            ValueError: if the tensors are not those of the network.
        """
        values, count = state["values"], state["count"]
        if not isinstance(values, dict) or {n: v.shape for n, v in values.items()} != {
            n: v.shape for n, v in self.values.items()
        }:
            raise ValueError("average: the tensors of the network expected")
        if type(count) is not int or count < 0:
            raise ValueError(f"average: a number of steps expected, got {count!r}")
        self._copy(values, self.values)
        self.count = count

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor], to: Mapping[str, Tensor]) -> None:
        for name, value in to.items():
            value.copy_(values[name])
