"""Time that the training loop waits for samples, compared with samples in memory."""

import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import Dataset

from model.laiar import LaIAR
from pipeline.cache.clip import CachedClip
from pipeline.cache.folder import clip_path, store_clip
from pipeline.cache.listing import ClipEntry
from pipeline.config.schema import TrainConfig
from pipeline.samples.dataset import ClipDataset, SampleBatch, collate_samples
from pipeline.training.log import LOG_FILE
from pipeline.training.processes import Processes
from pipeline.training.trainer import Trainer
from tools.proofs.benchmarks.cache_reading import ReadingPlan, random_clip
from tools.proofs.benchmarks.training import (
    GROUPS,
    NUM_CLASSES,
    RandomTask,
    TrainingPlan,
    random_network,
)

#: Steps per epoch.
STEPS = 6
#: Frames of a clip per sampled frame.
SPARE = 1.5
MEMORY, DISK, BATCHES = "clips in memory", "clips read in every epoch", "batches in memory"


class LoopTask(RandomTask):
    """Training on given samples, in their order.

    Args:
        model: the network.
        settings: settings of the training run.
        data: samples, or one batch per step.
    """

    def __init__(self, model: LaIAR, settings: TrainConfig, data: Dataset[Any]) -> None:
        super().__init__(model, settings)
        self.data = self._samples = data

    def steps(self, epoch: int) -> list[list[int]]:
        """Return the samples of each step."""
        if not isinstance(self._samples, ClipDataset):
            return [[step] for step in range(STEPS)]
        self._samples.epoch = epoch
        per_step = len(self._samples) // STEPS
        return [[*range(step * per_step, (step + 1) * per_step)] for step in range(STEPS)]

    def collate(self, items: list[Any]) -> SampleBatch:
        """Join samples, or return the only batch."""
        if isinstance(items[0], SampleBatch):
            return items[0]
        return collate_samples(items)


class _Batches(Dataset[SampleBatch]):
    def __init__(self, batches: Sequence[SampleBatch]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, index: int) -> SampleBatch:
        return self.batches[index]


def benchmark_loop(plan: TrainingPlan) -> dict[str, Any]:
    """Measure the loop of `pipeline.train` on random clips, with one thread.

    Args:
        plan: settings of the measurement; its first width is used.

    Returns:
        JSON tree with the milliseconds per step and the share of the time in which the loop waits
        for samples, in the fastest round, by source of the samples; and the speed with clips in
        memory, relative to that with batches in memory.
    """
    width, before = plan.widths[0], torch.get_num_threads()
    torch.set_num_threads(1)
    logging.getLogger("train").setLevel(logging.WARNING)  # no line per epoch
    with tempfile.TemporaryDirectory() as folder:
        clips = _clips(plan, width, Path(folder))

        def dataset(memory: int) -> ClipDataset:
            return ClipDataset(
                clips,
                NUM_CLASSES,
                num_frames=plan.num_frames,
                max_pairs=plan.max_pairs,
                relations="ground-truth",
                seed=plan.seed,
                memory_bytes=memory,
            )

        disk = dataset(0)
        task = LoopTask(random_network(plan, width), TrainConfig(epochs=1), disk)
        made = [collate_samples([disk[i] for i in rows]) for rows in task.steps(0)]
        sources = {MEMORY: dataset(2**62), DISK: disk, BATCHES: _Batches(made)}
        tasks = {
            name: LoopTask(random_network(plan, width), TrainConfig(epochs=1), data)
            for name, data in sources.items()
        }
        rounds = [
            {name: _epoch(task, Path(folder)) for name, task in tasks.items()}
            for _ in range(plan.rounds + 1)
        ][1:]  # the first one fills the memory
    torch.set_num_threads(before)
    best = {name: min((r[name] for r in rounds), key=lambda e: e["training_s"]) for name in tasks}
    rows = {
        name: {
            "ms_per_step": 1e3 * epoch["training_s"] / STEPS,
            "waiting": epoch["waiting_s"] / epoch["training_s"],
        }
        for name, epoch in best.items()
    }
    ratio = rows[BATCHES]["ms_per_step"] / rows[MEMORY]["ms_per_step"]
    return {"width": width, "rows": rows, "ratio": ratio}


def print_loop(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"\nloop of pipeline.train, one thread, width {result['width']}; fastest round\n")
    print(f"{'':28}{'ms per step':>12}{'waiting':>9}")
    for name, row in result["rows"].items():
        print(f"{name:28}{row['ms_per_step']:12.1f}{row['waiting']:9.1%}")
    print(f"\nspeed with {MEMORY} / with {BATCHES}: {result['ratio']:.2f}")


def _epoch(task: LoopTask, folder: Path) -> dict[str, Any]:
    """Train an epoch, and return its log entry."""
    run = Path(tempfile.mkdtemp(dir=folder))
    Trainer(task, task.settings, run, "", Processes(torch.device("cpu"))).run()
    row: dict[str, Any] = json.loads((run / LOG_FILE).read_text().splitlines()[-1])
    return row


def _clips(plan: TrainingPlan, width: int, cache: Path) -> list[ClipEntry]:
    """Write the clips of an epoch."""
    frames, found = round(SPARE * plan.num_frames), []
    sizes = ReadingPlan(1, frames, frames, plan.max_pairs, 1)
    g = torch.Generator().manual_seed(plan.seed)
    for index in range(plan.num_videos * STEPS):
        clip: CachedClip = random_clip(replace(sizes, seed=index), 4 * width, 2 * width)
        said = torch.rand(len(clip.pairs), sum(GROUPS.values()), generator=g) > 0.9
        header = replace(clip.header, video_id=f"V{index}")
        clip = replace(clip, header=header, predicates={"ground-truth": said.float()})
        store_clip(cache, clip)
        found.append(ClipEntry(clip_path(cache, clip.video_id), clip.header))
    return found
