"""Training loop of all networks, in one or several processes, with a resumable checkpoint."""

import logging
import math
import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from pipeline.config.schema import Amp, LoopConfig
from pipeline.errors import StageError, UsageError
from pipeline.runtime.files import json_int
from pipeline.runtime.progress import duration
from pipeline.training.average import WeightAverage
from pipeline.training.batch_norm import SharedBatchNorm, kept_statistics, share_statistics
from pipeline.training.log import TrainingLog
from pipeline.training.optimizer import build_scaler
from pipeline.training.parts import Part, Rows, divide, exchange
from pipeline.training.processes import Processes
from pipeline.training.state import STATE_FILE, read_count, restore_state, save_state
from pipeline.training.task import PartLoss, Task
from pipeline.weights.loading import load_state

LOGGER = logging.getLogger("train")


@dataclass
class Progress:
    """Progress of a training run.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps.
        sums: sums of the loss and of `PartLoss.means` over the finished steps of this epoch.
        best_epoch: best epoch so far (`Task.noise`), or 0 before the first epoch.
        best_value: validation metric of the best epoch, or None if it is unknown.
        highest: highest validation metric of all judged epochs (`Task.is_judged`), or None.
        best: weights of the best epoch, on the CPU. Before the first epoch, the initial weights.
    """

    epoch: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best_epoch: int = 0
    best_value: float | None = None
    highest: float | None = None
    best: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """Trains the network of a task.

    Several processes share the samples of each step, and each process may divide its share into
    several passes. Neither changes the loss or the gradient of a step: the sums over all parts are
    those of the whole step, and random draws depend on (seed, step, sample). Only dropout differs.

    Each step seeds the random generators of torch, so that a resumed run equals an uninterrupted
    one.

    Args:
        task: network, loss and data.
        settings: settings of the loop.
        run: run folder. The first process writes `log.jsonl` and the checkpoint `state.pt`.
        fingerprint: SHA-256 over everything that determines the weights.
        processes: processes that train the network.
        log_every: number of steps between two log entries.
        save_every: number of steps between two checkpoints, besides those after each epoch.

    Raises:
        UsageError: if float16 is requested on a CPU.
    """

    def __init__(
        self,
        task: Task,
        settings: LoopConfig,
        run: Path,
        fingerprint: str,
        processes: Processes,
        *,
        log_every: int = 1,
        save_every: int | None = None,
    ) -> None:
        self.task, self.settings, self.processes = task, settings, processes
        self._log_every, self._save_every = log_every, save_every
        self.run_folder, self.fingerprint = run, fingerprint
        if settings.amp is Amp.fp16 and processes.device.type == "cpu":
            raise UsageError("amp=fp16: a GPU expected, got a CPU; use bf16 or none")
        self.scaler = build_scaler(settings.amp, processes.device)
        self.objective: nn.Module = task.objective
        self._norms = list[SharedBatchNorm]()
        if processes.count > 1:
            self._norms = share_statistics(task.objective)
            self.objective = nn.parallel.DistributedDataParallel(
                task.objective, find_unused_parameters=True
            )
        self.steps_per_epoch = len(task.steps(0))
        self.total_steps = settings.epochs * self.steps_per_epoch
        self.average = WeightAverage(task.model, settings.ema) if settings.ema else None
        self.progress = Progress(best=self._weights())

    def open(self) -> None:
        """Resume from the checkpoint `state.pt`, or write the first one.

        Raises:
            UsageError: if the checkpoint is damaged or belongs to another training run, or if the
                processes found different data.
        """
        if self.processes.of_first(self.fingerprint) != self.fingerprint:
            raise UsageError(
                f"process {self.processes.rank}: the data and settings of process 0 expected, got "
                "others; start training when no other command writes to the data, and use equal "
                "copies on all machines"
            )
        is_new = not (self.run_folder / STATE_FILE).is_file()
        self.processes.wait()
        if not is_new:
            self.load()
        if not self.processes.is_first:
            return
        if is_new:
            self.save()
        else:
            done, total = self.progress.step, self.total_steps
            LOGGER.info("resuming at step %d of %d", done, total)

    @property
    def is_done(self) -> bool:
        """Whether all epochs are finished."""
        return self.progress.epoch == self.settings.epochs

    def run(self) -> Progress:
        """Train the remaining steps, and return the progress after the last one.

        Raises:
            StageError: if a sample becomes unreadable, or the loss is not finite.
        """
        progress, s, is_first = self.progress, self.settings, self.processes.is_first
        log = TrainingLog(self.run_folder, tensorboard=s.tensorboard and is_first)
        if is_first:
            log.rewind(progress.step, progress.epoch)
        start, first = time.time(), progress.epoch
        for epoch in range(first, s.epochs):
            row = self._epoch(epoch, log)
            if is_first:
                seconds = (time.time() - start) / (epoch + 1 - first) * (s.epochs - epoch - 1)
                shown = f"epoch {epoch + 1}/{s.epochs}: loss {row['loss']:.4f}"
                more, left = self.task.sentence(row), duration(seconds)
                LOGGER.info("%s%s; about %s left", shown, more, left)
        log.close()
        if self.average is not None:
            self.average.apply()
        return progress

    def step(self, parts: Sequence[tuple[Any, Rows]]) -> dict[str, Any]:
        """Run one step of the optimiser.

        Args:
            parts: batch and rows of each pass of this process, see `divide`.

        Returns:
            Log entry with `lr`, `loss`, `terms`, `grad_norm` and the means of the task.

        Raises:
            StageError: if the loss or the gradient is not finite. The message names the samples.
        """
        task, optimizer, step = self.task, self.task.optimizer, self.progress.step
        task.set_learning_rate(step)
        task.train_mode()
        shared = self._with_rows([batch for batch, _ in parts], self._parts(parts))
        total: PartLoss | None = None
        for index, ((batch, _), part) in enumerate(zip(parts, shared, strict=True)):
            self._begin(index, part)
            is_last = index == len(parts) - 1
            with nullcontext() if is_last else self._without_exchange():
                found: PartLoss = self.objective(batch, part)
                loss = torch.stack(list(found.terms.values())).sum()
                if total is None:  # late, so that the new gradients use the memory of the old ones
                    optimizer.zero_grad(set_to_none=True)
                # DistributedDataParallel computes the mean of the gradients over the processes.
                self.scaler.scale(loss * self.processes.count).backward()
            total = _sum(total, found)
        assert total is not None
        values = self._totals(total)
        loss_value = sum(values[name] for name in total.terms)
        self.scaler.unscale_(optimizer)
        clip, most = nn.utils.clip_grad_norm_, self.settings.clip_norm or math.inf
        norm = math.hypot(*(float(clip(group, most)) for group in task.clipped()))
        is_finite = self.scaler.is_enabled() or math.isfinite(norm)
        if not (math.isfinite(loss_value) and is_finite):
            names = ", ".join(name for batch, _ in parts for name in task.names(batch))
            raise StageError(
                f"step {step}: a finite loss expected, got {loss_value} (gradient norm {norm}) on "
                f"{names}; {task.advice}"
            )
        self.scaler.step(optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        self.progress.step += 1
        return {
            "lr": optimizer.param_groups[0]["lr"],
            "loss": loss_value,
            "terms": {name: values[name] for name in total.terms},
            "grad_norm": norm,
            **{name: values[name] for name in total.means},
        }

    def _parts(self, parts: Sequence[tuple[Any, Rows]]) -> list[Part]:
        """Return the parts of this process with their shares."""
        objective, step, seed = self.task.objective, self.progress.step, self.settings.seed
        counts = [
            objective.counts(batch) if not rows.is_filler else dict.fromkeys(objective.counted, 0.0)
            for batch, rows in parts
        ]
        own = [sum(count[name] for count in counts) for name in objective.counted]
        totals = dict(zip(objective.counted, self.processes.sum(own), strict=True))
        shares = [{name: n / max(totals[name], 1.0) for name, n in c.items()} for c in counts]
        num_parts = len(parts) * self.processes.count
        return [
            Part(step, seed, totals, share, 1 / num_parts, rows.is_filler, self.processes)
            for (_, rows), share in zip(parts, shares, strict=True)
        ]

    @torch.no_grad()
    def _with_rows(self, batches: Sequence[Any], parts: list[Part]) -> list[Part]:
        """Add the rows of all other parts, if a loss term needs them before the first pass."""
        if self.settings.accumulate == 1:
            return parts
        own = []
        for index, (batch, part) in enumerate(zip(batches, parts, strict=True)):
            self._begin(index, part)
            with kept_statistics(self.task.objective):  # the pass itself updates them
                rows = self.task.objective.rows(batch, part)
            if rows is None:
                return parts
            own.append(part.real(rows))
        return exchange(own, parts)

    def _begin(self, index: int, part: Part) -> None:
        """Seed the generators for a pass, and set whether its samples count for statistics."""
        for layer in self._norms:
            layer.is_counted = not part.is_filler
        seed = [self.settings.seed, self.progress.step, self.processes.rank, index]
        torch.manual_seed(json_int(seed))

    def _without_exchange(self) -> Any:
        is_shared = isinstance(self.objective, nn.parallel.DistributedDataParallel)
        return self.objective.no_sync() if is_shared else nullcontext()  # type: ignore[operator]

    def _totals(self, total: PartLoss) -> dict[str, float]:
        values = total.terms | total.means
        own = torch.stack([value.detach().double() for value in values.values()]).tolist()
        return dict(zip(values, self.processes.sum(own), strict=True))

    def _epoch(self, epoch: int, log: TrainingLog) -> dict[str, Any]:
        task, s, progress, start = self.task, self.settings, self.progress, time.time()
        is_first = self.processes.is_first
        steps = task.steps(epoch)[progress.step - epoch * self.steps_per_epoch :]
        divided = [divide(batch, self.processes, s.accumulate) for batch in steps]
        loader = iter(self._loader([part for parts in divided for part in parts]))
        label, done = f"epoch {epoch + 1}/{s.epochs}", self.steps_per_epoch - len(steps)
        bar = tqdm(
            zip(steps, divided, strict=True),
            desc=label,
            initial=done,
            total=self.steps_per_epoch,
            unit="step",
            disable=None if is_first else True,
        )
        waited = 0.0
        for samples, parts in bar:
            asked = time.perf_counter()
            batches = [(next(loader), part) for part in parts]
            waited += time.perf_counter() - asked
            for batch, _ in batches:
                task.names(batch)  # raises for unreadable samples
            row = self.step(batches)
            for name in row:
                if name not in ("lr", "terms", "grad_norm"):
                    progress.sums[name] = progress.sums.get(name, 0.0) + row[name]
            if is_first and progress.step % self._log_every == 0:
                known = {"step": progress.step - 1, "epoch": epoch + 1, "samples": len(samples)}
                log.add("step", **known, **row)
            if is_first and self._save_every and progress.step % self._save_every == 0:
                self.save()
            bar.set_postfix(loss=f"{row['loss']:.4f}")
        trained = {"waiting_s": round(waited, 3), "training_s": round(time.time() - start, 3)}
        return self._end_epoch(epoch, log, start, trained)

    def _end_epoch(
        self, epoch: int, log: TrainingLog, start: float, trained: dict[str, float]
    ) -> dict[str, Any]:
        task, progress, is_first = self.task, self.progress, self.processes.is_first
        with nullcontext() if self.average is None else self.average.applied():
            value, entries = task.validate() if is_first else (None, {})
            weights = self._weights()
        value = self.processes.of_first(value)
        if task.plateau is not None and value is not None:
            task.plateau.step(value)
        progress.epoch += 1
        if value is None or progress.highest is None or value >= progress.highest - task.noise:
            progress.best_epoch, progress.best_value = progress.epoch, value
            progress.best = weights
            if is_first:
                task.improved(progress.best)
        if value is not None and task.is_judged(progress.step):
            progress.highest = max(value, progress.highest or value)
        means = {name: total / self.steps_per_epoch for name, total in progress.sums.items()}
        progress.sums = {}
        row = means | {"epoch": epoch + 1, "step": progress.step}
        row |= entries | {"best_epoch": progress.best_epoch} | trained
        row["seconds"] = round(time.time() - start, 3)
        if is_first:
            # The line is written before the checkpoint. If the run is killed in between, resuming
            # removes the line and repeats the epoch.
            log.add("epoch", **row)
            self.save()
        return row

    def _loader(self, parts: Sequence[Rows]) -> DataLoader[Any]:
        return DataLoader(
            self.task.data,
            batch_sampler=[part.rows for part in parts],
            collate_fn=self.task.collate,
            num_workers=self.settings.workers,
            # The loader draws a base seed. A generator of its own leaves the global one unchanged.
            generator=torch.Generator().manual_seed(0),
            multiprocessing_context="spawn" if self.settings.workers else None,
        )

    def _weights(self) -> dict[str, Tensor]:
        if not self.task.keeps_best:
            return {}
        state = self.task.model.state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self) -> None:
        """Write the checkpoint `state.pt`."""
        tree = {
            "progress": vars(self.progress),
            "model": self.task.model.state_dict(),
            "optimizer": self.task.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": None if self.average is None else self.average.state(),
            "plateau": None if self.task.plateau is None else self.task.plateau.state_dict(),
        }
        save_state(self.run_folder, self.task.state_schema, self.fingerprint, tree)

    def load(self) -> None:
        """Resume from the checkpoint `state.pt`.

        Raises:
            UsageError: if the checkpoint is damaged or belongs to another training run.
        """
        restore_state(self.run_folder, self.task.state_schema, self.fingerprint, self._restore)

    def _restore(self, tree: dict[str, Any]) -> None:
        found, task = tree["progress"], self.task
        epoch = read_count(found, "epoch", self.settings.epochs)
        step = read_count(found, "step", self.total_steps)
        read_count(found, "best_epoch", epoch)
        if not 0 <= step - epoch * self.steps_per_epoch <= self.steps_per_epoch:
            raise ValueError(f"step: a step of epoch {epoch + 1} expected, got {step}")
        for value in (found["best_value"], found["highest"]):
            if value is not None and not (isinstance(value, float) and 0 <= value <= 1):
                raise ValueError(f"best_value, highest: 0 to 1 expected, got {value!r}")
        progress = Progress(**found)
        if task.keeps_best:
            load_state(task.model, progress.best)  # raises for weights of another network
        load_state(task.model, tree["model"])
        task.optimizer.load_state_dict(tree["optimizer"])
        self.scaler.load_state_dict(tree["scaler"])
        if self.average is not None:
            self.average.restore(tree["average"])
        if task.plateau is not None:
            task.plateau.load_state_dict(tree["plateau"])
        self.progress = progress


def _sum(total: PartLoss | None, found: PartLoss) -> PartLoss:
    """Add the detached values of another part."""
    terms = {name: value.detach() for name, value in found.terms.items()}
    if total is None:
        return PartLoss(terms, found.means)
    return PartLoss(
        {name: value + total.terms[name] for name, value in terms.items()},
        {name: value + total.means[name] for name, value in found.means.items()},
    )
