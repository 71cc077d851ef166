"""What a `Trainer` trains: a network, its loss, its data and its evaluation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import Dataset

from pipeline.training.parts import Part


@dataclass(frozen=True)
class PartLoss:
    """Loss of one part of a step.

    All values are multiplied by the share of the part, so that their sums over the parts are those
    of the step.

    Attributes:
        terms: weighted terms of the loss, scalars.
        means: means over the samples for the log, such as the number of kept tokens.
    """

    terms: dict[str, Tensor]
    means: dict[str, Tensor] = field(default_factory=dict)


class Objective(nn.Module, ABC):
    """Loss of a network. Its parameters are those of the network.

    Attributes:
        counted: names of the `counts`.
    """

    counted: tuple[str, ...]

    @abstractmethod
    def forward(self, batch: Any, part: Part) -> PartLoss:
        """Compute the loss of one part of a step.

        Args:
            batch: samples of the part, on the CPU.
            part: number, seed and shares of the part.
        """

    @abstractmethod
    def counts(self, batch: Any) -> dict[str, float]:
        """Return the numbers that the means of the loss terms divide by, such as that of videos."""

    def rows(self, batch: Any, part: Part) -> Sequence[Tensor] | None:
        """Return the rows that a loss term compares with those of all other parts.

        It is called without gradients if a process divides a step into several passes.

        Returns:
            The rows for `Part.join`, or None if there is no such term.
        """
        return None


class Task(ABC):
    """Network, loss, data and evaluation of one kind of training.

    Attributes:
        state_schema: name and version of the checkpoint.
        model: network to train, on its device.
        objective: loss of the network.
        optimizer: optimiser of the network.
        plateau: scheduler that lowers the learning rate if the validation metric stops rising.
        data: samples.
        noise: differences of the validation metric up to this value are noise: of the epochs within
            this distance of the highest value, the latest is the best.
        keeps_best: whether the weights of the best epoch are kept. Otherwise, those of the last.
        advice: end of the message about a loss that is not finite.
    """

    state_schema: ClassVar[str]
    advice: ClassVar[str]
    noise: float = 0.0
    keeps_best: ClassVar[bool] = True

    model: nn.Module
    objective: Objective
    optimizer: torch.optim.Optimizer
    plateau: ReduceLROnPlateau | None = None
    data: Dataset[Any]

    @abstractmethod
    def steps(self, epoch: int) -> list[list[Any]]:
        """Start an epoch and return the indices of the samples of each step.

        They depend only on the epoch, and every epoch has the same number of steps.
        """

    @abstractmethod
    def collate(self, items: list[Any]) -> Any:
        """Join samples into a batch. It runs in the worker processes of the data loader."""

    @abstractmethod
    def names(self, batch: Any) -> Sequence[str]:
        """Return the ids of the samples of a batch.

        Raises:
            StageError: if a sample could not be read.
        """

    @abstractmethod
    def set_learning_rate(self, step: int) -> None:
        """Set the learning rate of a step."""

    def clipped(self) -> list[list[nn.Parameter]]:
        """Return the groups of parameters whose gradients are clipped apart."""
        return [list(self.model.parameters())]

    def train_mode(self) -> None:
        """Set the modules to train mode."""
        self.model.train()

    def validate(self) -> tuple[float | None, dict[str, Any]]:
        """Evaluate the network after an epoch.

        Returns:
            The metric that selects the best epoch, higher is better, or None without one; and
            entries of the log.
        """
        return None, {}

    def is_judged(self, step: int) -> bool:
        """Return whether the best epoch must be at least as good as an epoch that ends here."""
        return True

    def improved(self, weights: dict[str, Tensor]) -> None:  # noqa: B027
        """Store the weights of a new best epoch, if they are of use before the last epoch."""

    def sentence(self, row: dict[str, Any]) -> str:
        """Describe an epoch for the log."""
        return ""
