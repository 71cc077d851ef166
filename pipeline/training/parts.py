"""Division of a step among processes, and among the passes of a process."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from pipeline.runtime.files import json_int
from pipeline.training.processes import Processes


@dataclass(frozen=True)
class Rows:
    """Samples of one pass.

    Attributes:
        rows: indices of the samples in the dataset, at least one.
        is_filler: whether the pass only lets its process take part in a step with fewer samples
            than processes. Its loss has the weight 0.
    """

    rows: list[Any]
    is_filler: bool = False


def divide(batch: list[Any], processes: Processes, passes: int) -> list[Rows]:
    """Return the samples of each pass of this process. All processes have equally many passes.

    Args:
        batch: indices of all samples of a step.
        processes: processes that share the step.
        passes: largest number of passes per process.
    """
    mine, most = batch[processes.rank :: processes.count], -(-len(batch) // processes.count)
    size = -(-most // passes)
    chunks = [mine[i : i + size] for i in range(0, most, size)]
    return [Rows(rows) if rows else Rows(batch[:1], is_filler=True) for rows in chunks]


@dataclass(frozen=True)
class Part:
    """Part of a step: the samples of one pass of one process.

    Over all parts of a step, loss terms that are multiplied by their share add up to the terms of
    the whole step.

    Attributes:
        step: 0-based number of the step.
        seed: seed of the training run.
        totals: for each count of `Objective.counts`, that of the whole step.
        shares: for each count, that of this part, divided by the total, and 0 for a filler.
        share: one, divided by the number of parts.
        is_filler: see `Rows`.
        before: rows of the parts before this part, see `join`. None if they are not known yet.
        after: rows of the parts after this part.
        processes: processes that share the step.
    """

    step: int
    seed: int
    totals: dict[str, float]
    shares: dict[str, float]
    share: float
    is_filler: bool
    processes: Processes
    before: Sequence[Tensor] | None = None
    after: Sequence[Tensor] | None = None

    def seeds(self, names: Iterable[str]) -> list[int]:
        """Return a seed for each sample, which depends only on (seed, step, name)."""
        return [json_int([self.seed, self.step, name]) for name in names]

    def join(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows of all parts of the step, in the same order in every part.

        If the rows of the other parts are not known yet, the processes exchange these rows.

        Args:
            rows: tensors of this part, with one row per token.

        Returns:
            For each tensor, the rows of all parts. Only those of this part have a gradient.
        """
        own = self.real(rows)
        if self.before is not None and self.after is not None:
            return [torch.cat(x) for x in zip(self.before, own, self.after, strict=True)]
        if self.processes.count == 1:
            return own
        rank, joined = self.processes.rank, []
        for value in own:
            found = self.processes.gather(value)
            found[rank] = value
            joined.append(torch.cat(found))
        return joined

    def real(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """Return the rows, without those of a filler."""
        return [value[:0] if self.is_filler else value for value in rows]


def exchange(own: Sequence[Sequence[Tensor]], parts: Sequence[Part]) -> list[Part]:
    """Return the parts of this process with the rows of all other parts of the step.

    Args:
        own: rows of each part.
        parts: the parts.
    """
    known: list[tuple[list[Tensor], list[Tensor]]] = [([], []) for _ in parts]
    for tensors in zip(*own, strict=True):
        rank = parts[0].processes.rank
        found = parts[0].processes.gather(torch.cat(tensors))
        for index, (before, after) in enumerate(known):
            before.append(_joined([*found[:rank], *tensors[:index]], tensors[0]))
            after.append(_joined([*tensors[index + 1 :], *found[rank + 1 :]], tensors[0]))
    return [replace(part, before=b, after=a) for part, (b, a) in zip(parts, known, strict=True)]


def _joined(parts: Sequence[Tensor], like: Tensor) -> Tensor:
    return torch.cat([like[:0].detach(), *parts])
