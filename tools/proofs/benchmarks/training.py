"""Speed of a training step of LaIAR, by number of threads and by size of the input."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from model.build import build_laiar
from model.criterion import CriterionSettings, LaIARCriterion
from model.labels import TokenLabels
from model.laiar import LaIAR
from model.settings import LaIARSettings
from model.tokens import TokenBatch
from pipeline.config.schema import TrainConfig
from pipeline.samples.dataset import SampleBatch
from pipeline.training.laiar.objective import LaIARObjective
from pipeline.training.optimizer import build_optimizer
from pipeline.training.parts import Rows
from pipeline.training.processes import Processes
from pipeline.training.task import Task
from pipeline.training.trainer import Trainer
from tools.proofs.benchmarks.timing import count_gmac, matrix_rate, time_rounds

GROUPS = {"attention": 3, "spatial": 6, "contacting": 17}
NUM_OBJECTS, NUM_CLASSES, NUM_LABELS = 36, 157, 200
NUM_STEPS = 100


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of the measurement.

    Attributes:
        widths: widths D of the networks. The networks have four layers, as in the paper, and F is
            4 D.
        num_videos: number of videos per step.
        threads: numbers of threads to compare.
        rounds: number of measured rounds.
        seed: seed of the weights and features.
        num_frames: frames per video, T.
        max_pairs: slots per frame, K. Four of five slots have a token.
    """

    widths: tuple[int, ...]
    num_videos: int
    threads: tuple[int, ...]
    rounds: int
    seed: int = 0
    num_frames: int = 16
    max_pairs: int = 8


def benchmark_training(plan: TrainingPlan) -> dict[str, Any]:
    """Measure training steps on the CPU.

    Args:
        plan: settings of the measurement.

    Returns:
        JSON tree with the milliseconds per step in the fastest round, by width and number of
        threads, and by T, K and D.
    """
    before, rows = torch.get_num_threads(), {}
    for width in plan.widths:
        trainer, batch = random_trainer(plan, width), random_batch(plan, 4 * width)
        variants: dict[str, Callable[[], Any]]
        variants = {str(n): partial(_step, trainer, batch, n) for n in plan.threads}
        timed = time_rounds(variants, plan.rounds, torch.device("cpu"))
        rows[str(width)] = {n: 1e3 * measured.best_s for n, measured in timed.items()}
    torch.set_num_threads(1)
    sizes = [_by_size(size) for size in _sizes(plan)]
    torch.set_num_threads(before)
    found = {"ms_per_step": rows, "sizes": sizes}
    return {"videos": plan.num_videos, "seed": plan.seed} | found


def _sizes(plan: TrainingPlan) -> list[TrainingPlan]:
    """Return the sizes with half and double T, half and double K, and double the first width."""
    base = replace(plan, widths=plan.widths[:1])
    (width,) = base.widths
    frames = [replace(base, num_frames=base.num_frames // 2 * n) for n in (1, 4)]
    pairs = [replace(base, max_pairs=base.max_pairs // 2 * n) for n in (1, 4)]
    return [base, *frames, *pairs, replace(base, widths=(2 * width,))]


def _by_size(plan: TrainingPlan) -> dict[str, Any]:
    """Measure a step with and without training of the selector, on one thread."""
    (width,) = plan.widths
    trainer, batch = random_trainer(plan, width), random_batch(plan, 4 * width)
    steps: dict[str, Callable[[], Any]] = {
        "ms": partial(run_step, trainer, batch),
        "ms_with_selector": partial(run_step, trainer, batch, at=0.5),
    }
    timed = time_rounds(steps, plan.rounds, torch.device("cpu"))
    assert batch.tokens is not None
    gmac, rate = count_gmac(steps["ms"]), matrix_rate(torch.float32, torch.device("cpu"))
    return {
        "T": plan.num_frames,
        "K": plan.max_pairs,
        "D": width,
        "tokens": int(batch.tokens.mask.sum()),
        **{name: 1e3 * measured.best_s for name, measured in timed.items()},
        "gmac": gmac,
        "matrix_share": gmac / rate / timed["ms"].best_s,
    }


def print_training(result: dict[str, Any]) -> None:
    """Print the table."""
    print(f"one step on {result['videos']} videos, ms; fastest round\n")
    rows = result["ms_per_step"]
    numbers = list(next(iter(rows.values())))
    print(f"{'width':>6}" + "".join(f"{n + ' threads':>12}" for n in numbers) + f"{'ratio':>8}")
    for width, row in rows.items():
        ratio = row[numbers[-1]] / row[numbers[0]]
        print(f"{width:>6}" + "".join(f"{row[n]:12.1f}" for n in numbers) + f"{ratio:8.2f}")
    print(f"\nratio: {numbers[-1]} threads / {numbers[0]} threads\n")
    print("one thread; share: GMAC of a step without selector / (time x rate of a matrix product)")
    print(
        f"{'T':>3}{'K':>4}{'D':>5}{'tokens':>8}{'ms':>9}{'+ selector':>12}{'GMAC':>8}{'share':>7}"
    )
    for row in result["sizes"]:
        more = row["ms_with_selector"] - row["ms"]
        cells = f"{row['T']:>3}{row['K']:>4}{row['D']:>5}{row['tokens']:>8}{row['ms']:9.1f}"
        print(f"{cells}{more:12.1f}{row['gmac']:8.2f}{row['matrix_share']:7.2f}")


def _step(trainer: Trainer, batch: SampleBatch, threads: int) -> None:
    torch.set_num_threads(threads)
    run_step(trainer, batch)


def run_step(trainer: Trainer, batch: SampleBatch, *, at: float = 0.0) -> None:
    """Run a training step.

    Args:
        trainer: result of `random_trainer`.
        batch: samples of the step.
        at: fraction of the steps after which the step is run.
    """
    trainer.progress.step = int(at * NUM_STEPS)
    trainer.step([(batch, Rows([0]))])


class RandomTask(Task):
    """Training of a network with random weights, without data.

    Args:
        model: the network.
        settings: settings of the training run.
    """

    state_schema = "laiar.benchmark/1"
    advice = "use other features"
    keeps_best = False

    def __init__(self, model: LaIAR, settings: TrainConfig) -> None:
        self.model, self.network, self.settings = model, model, settings
        criterion = LaIARCriterion(CriterionSettings(reduction="sum"))
        device = torch.device("cpu")
        self.objective = LaIARObjective(model, criterion, settings, device, NUM_STEPS)
        self.optimizer = build_optimizer(model, settings.lr, settings.weight_decay)

    def steps(self, epoch: int) -> list[list[int]]:
        """Return steps of one sample."""
        return [[0]] * NUM_STEPS

    def collate(self, items: list[Any]) -> SampleBatch:
        """Return the only item."""
        batch: SampleBatch = items[0]
        return batch

    def names(self, batch: SampleBatch) -> Sequence[str]:
        """Return the ids of the videos of a batch."""
        return batch.video_ids

    def set_learning_rate(self, step: int) -> None:
        """Leave the learning rate as it is."""

    def clipped(self) -> list[list[nn.Parameter]]:
        """Return the parts of the network that no loss term trains together."""
        return self.network.parts()


def random_trainer(plan: TrainingPlan, width: int) -> Trainer:
    """Build a trainer of a network with random weights."""
    settings = TrainConfig(epochs=1)
    task = RandomTask(random_network(plan, width), settings)
    return Trainer(task, settings, Path(), "", Processes(torch.device("cpu")))


def random_network(plan: TrainingPlan, width: int) -> LaIAR:
    """Build a network with random weights."""
    torch.manual_seed(plan.seed)
    objects = torch.arange(NUM_LABELS) % (NUM_OBJECTS - 1) + 1
    pairs = torch.stack([torch.zeros_like(objects), objects], 1)
    predicates = torch.rand(NUM_LABELS, sum(GROUPS.values())) > 0.8
    model = build_laiar(
        num_classes=NUM_CLASSES,
        num_objects=NUM_OBJECTS,
        group_sizes=GROUPS,
        box_features=4 * width,
        union_channels=2 * width,
        settings=LaIARSettings(
            num_frames=plan.num_frames,
            dim=width,
            part_width=width,
            union_width=max(width // 2, 2),
        ),
        num_labels=NUM_LABELS,
    )
    if model.reader is not None:
        ones = torch.ones(NUM_LABELS, dtype=torch.int64)
        model.reader.set_labels(TokenLabels(pairs, predicates, ones))
    return model


def random_batch(plan: TrainingPlan, features: int) -> SampleBatch:
    """Draw a batch of random tokens with box features of a width."""
    g = torch.Generator().manual_seed(plan.seed)
    T = plan.num_frames
    mask = torch.rand(plan.num_videos, T, plan.max_pairs, generator=g) < 0.8
    M = int(mask.sum())
    tokens = TokenBatch(
        mask=mask,
        human_features=torch.randn(M, features, generator=g).relu(),
        object_features=torch.randn(M, features, generator=g).relu(),
        union_features=torch.randn(M, features // 2, 7, 7, generator=g).relu(),
        spatial_masks=torch.rand(M, 2, 27, 27, generator=g) - 0.5,
        human_labels=torch.zeros(M, dtype=torch.int64),
        object_labels=torch.randint(1, NUM_OBJECTS, (M,), generator=g),
        times_s=mask.nonzero()[:, 1] * 0.4,
        tracks=mask.nonzero()[:, 2],
        predicates=(torch.rand(M, sum(GROUPS.values()), generator=g) > 0.9).float(),
    )
    labels = (torch.rand(plan.num_videos, NUM_CLASSES, generator=g) > 0.95).float()
    during = torch.rand(*labels.shape, T, generator=g) < 0.3
    return SampleBatch(tuple(f"V{i}" for i in range(plan.num_videos)), tokens, labels, during, ())
