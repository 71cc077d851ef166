"""Processes that train one network together, started by torchrun."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from pipeline.errors import StageError, UsageError
from pipeline.runtime.devices import pick_device
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import only_command

#: The other processes wait while the first one evaluates the network.
_PATIENCE = timedelta(hours=12)
Value = TypeVar("Value")


@dataclass(frozen=True)
class Processes:
    """Processes that train one network, seen from one of them.

    Without torchrun, there is one process, and the methods return their argument.

    Attributes:
        device: device of this process.
        rank: index of this process.
        count: number of processes.
    """

    device: torch.device
    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process evaluates the network and writes the files."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Return the sums over all processes."""
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        if self.count > 1:
            dist.all_reduce(total)
        return [float(value) for value in total.tolist()]

    def of_first(self, value: Value) -> Value:
        """Return the value of the first process. The other processes wait for it."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, device=self.device)
        return values[0]

    def gather(self, rows: Tensor) -> list[Tensor]:
        """Return the rows of every process, without their gradient.

        Args:
            rows: (n, ...) rows of this process; n may differ between processes.
        """
        rows = rows.detach().contiguous()
        if self.count == 1:
            return [rows]
        sizes = [torch.zeros(1, dtype=torch.int64, device=rows.device) for _ in range(self.count)]
        dist.all_gather(sizes, torch.tensor([len(rows)], device=rows.device))
        lengths = [int(size) for size in sizes]
        padded = rows.new_zeros(max(lengths), *rows.shape[1:])
        padded[: len(rows)] = rows
        found = [torch.empty_like(padded) for _ in range(self.count)]
        dist.all_gather(found, padded)
        return [part[:length] for part, length in zip(found, lengths, strict=True)]

    def wait(self) -> None:
        """Wait for the other processes."""
        if self.count > 1:
            dist.barrier()


@contextmanager
def training_run(
    processes: Processes, record: RunRecord, open_folder: Callable[[], None]
) -> Iterator[None]:
    """Open a run folder and record the run, in the first process. The others wait until it is open.

    Args:
        processes: processes of the run.
        record: record of the run, which is written at its end.
        open_folder: function that creates the run folder or checks its content.

    Raises:
        UsageError: if another command uses the folder, or `open_folder` rejects it.
    """
    if not processes.is_first:
        processes.wait()
        yield
        return
    with only_command(record.folder):
        open_folder()
        processes.wait()
        with record:
            yield


@contextmanager
def join_processes(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun started, or return one process without torchrun.

    Args:
        device: name of the device, see `pick_device`. With CUDA, each process uses its own GPU.

    Raises:
        UsageError: if the device is not available, the machine has fewer GPUs than processes, or
            the environment is not that of torchrun.
        StageError: if another process ends while this one waits for it.
    """
    try:
        count = int(os.environ.get("WORLD_SIZE", "1"))
        rank, local = (int(os.environ[k]) if count > 1 else 0 for k in ("RANK", "LOCAL_RANK"))
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"WORLD_SIZE: the environment of torchrun expected, missing or invalid: {error}; start "
            "several processes with torchrun, or unset WORLD_SIZE"
        ) from error
    picked = pick_device(device)
    if count == 1:
        yield Processes(picked)
        return
    if picked.type == "cuda":
        if local >= torch.cuda.device_count():
            raise UsageError(
                f"torchrun: one process per GPU expected, but this machine has "
                f"{torch.cuda.device_count()} GPUs; lower --nproc-per-node"
            )
        picked = torch.device("cuda", local)
        torch.cuda.set_device(picked)
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo", timeout=_PATIENCE)
    try:
        yield Processes(picked, rank, count)
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        first = str(error).splitlines()[0][:200]
        raise StageError(
            f"process {rank}: another process has ended, see its message ({first})"
        ) from error
    finally:
        dist.destroy_process_group()
