"""Training of LaIAR: network, data and validation."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model.criterion import LaIARCriterion
from pipeline.cache.listing import ClipEntry
from pipeline.errors import StageError
from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.recall import recall_of_scores
from pipeline.evaluation.scoring import Scores, score_clips
from pipeline.samples.dataset import SampleBatch, collate_samples, shuffled_batches
from pipeline.training.laiar.job import TrainingJob
from pipeline.training.laiar.objective import LaIARObjective
from pipeline.training.optimizer import build_optimizer, learning_rate_factor
from pipeline.training.task import Task
from pipeline.weights.loading import load_state
from pipeline.weights.run_folder import save_weights

LOGGER = logging.getLogger("train")


class LaIARTask(Task):
    """Network, data and validation of a training run of LaIAR.

    The file `model.safetensors` contains the weights of the best epoch.

    Args:
        job: checked inputs of the training run.
        run: run folder.
        device: device to train on.
    """

    state_schema = "laiar.state/2"
    advice = "lower train.lr, or check these clips"
    noise = 0.01

    def __init__(self, job: TrainingJob, run: Path, device: torch.device) -> None:
        self.job, self.run_folder, self.device = job, run, device
        self.settings = s = job.config.train
        self.data = self._clips = job.training_dataset()
        torch.manual_seed(s.seed)
        self.model = self.network = job.card.build()
        if job.initial_weights is not None:
            load_state(self.model, self.model.state_dict() | job.initial_weights)
        self.model.to(device)
        self.total_steps = s.epochs * len(self.steps(0))
        criterion = LaIARCriterion(job.config.loss)
        self.objective = self._loss = LaIARObjective(
            self.network, criterion, s, device, self.total_steps
        )
        self.optimizer = build_optimizer(
            self.model, s.lr, s.weight_decay, selector_lr=s.selector_lr
        )
        self.set_labels()

    def set_labels(self) -> None:
        """Set the labels that tokens are read as, those of the training clips.

        They are buffers that a checkpoint replaces.
        """
        if self.network.reader is not None:
            self.network.reader.set_labels(self.job.labels)

    def steps(self, epoch: int) -> list[list[int]]:
        """Start an epoch and return the clips of each step."""
        self._clips.epoch = epoch
        draw = (self.settings.seed, epoch)
        return shuffled_batches(len(self._clips), self.settings.batch_size, draw)

    def collate(self, items: list[Any]) -> SampleBatch:
        """Join samples into a batch."""
        return collate_samples(items)

    def names(self, batch: SampleBatch) -> Sequence[str]:
        """Return the ids of the videos of a batch.

        Raises:
            StageError: if a clip could not be read.
        """
        if batch.failed:
            raise StageError(f"{batch.failed[0][1]}; the clip was readable when training started")
        return batch.video_ids

    def set_learning_rate(self, step: int) -> None:
        """Set the learning rate of a step, see `learning_rate_factor`."""
        factor = learning_rate_factor(step, self.total_steps, self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * factor * group["scale"]

    def clipped(self) -> list[list[nn.Parameter]]:
        """Return the parts of the network that no loss term trains together."""
        return self.network.parts()

    def validate(self) -> tuple[float | None, dict[str, Any]]:
        """Return the mAP or mAR of `evaluate --split validation`; None without labelled videos.

        The metric of a single-label network is mAR, and `noise` its standard error, because one
        clip of a rare class can change it by several points. The log contains both as
        `validation_mar` and `validation_mar_error`, or the mAP as `validation_map`.
        """
        scores = self.score(self.job.validation)
        for error in scores.failed.values():
            raise StageError(f"{error}; the clip was readable when training started") from error
        more = {}
        if self.job.card.multi_label:
            # The clips of a subset of the classes are chosen in advance (`with_known_labels`).
            last = self.job.card.columns is None
            value = charades_map(scores.scores, scores.labels, rank_unlabelled_last=last).map
        else:
            recall = recall_of_scores(scores.scores, scores.labels)
            value, self.noise = recall.mar, recall.standard_error
            more = {"validation_mar_error": None if math.isnan(self.noise) else self.noise}
        found = None if math.isnan(value) else value
        return found, {f"validation_{self._metric.lower()}": found} | more

    @property
    def _metric(self) -> str:
        return "mAP" if self.job.card.multi_label else "mAR"

    def score(self, clips: list[ClipEntry]) -> Scores:
        """Score clips with the current weights."""
        branch, s = self.job.card.scored_branch, self.settings
        data = self.job.dataset(clips, relations=branch == "language")
        return score_clips(
            self.network,
            data,
            self.device,
            branch=branch,
            multi_label=self.job.card.multi_label,
            batch_size=s.batch_size,
            workers=s.workers,
        )

    def is_judged(self, step: int) -> bool:
        """Return whether an epoch counts for the best: not before selector=subset is trained."""
        settings = self.network.settings
        is_subset = settings.selects and settings.selector == "subset"
        return not is_subset or self._loss.trains_selection(step - 1)

    def improved(self, weights: dict[str, Tensor]) -> None:
        """Write the weights of a new best epoch."""
        save_weights(self.run_folder, weights)

    def sentence(self, row: dict[str, Any]) -> str:
        """Describe an epoch for the log."""
        value = row[f"validation_{self._metric.lower()}"]
        validation = "" if value is None else f", validation {self._metric} {value:.4f}"
        return f", {row['kept']:.1f} tokens kept{validation}"
