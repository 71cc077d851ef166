"""Training step and resumable checkpoint of a relation predictor."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pipeline.training.optimizer import autocast, build_scaler, descend, learning_rate_factor
from pipeline.training.relations.samples import RelationSample
from pipeline.training.relations.settings import MultiLabel, Schedule, TrainingConfig
from pipeline.training.state import read_count, restore_state, save_state
from pipeline.weights.loading import load_state
from relations.loss import MultiLabelLoss, loss_objects, relation_losses
from relations.sttran import STTran

STATE_SCHEMA = "laiar.predictor-state/1"


@dataclass
class RelationProgress:
    """Progress and best weights of a training run.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps.
        best_epoch: epoch with the highest R@20 on the validation videos, or 0 before the first
            epoch.
        best_recall: R@20 of the best epoch, or -1 if it is unknown.
        best: weights of the best epoch, on the CPU.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_recall: float = -1.0
    best: dict[str, Tensor] = field(default_factory=dict)


class RelationLearner:
    """Relation predictor with its optimiser and resumable checkpoint.

    Args:
        model: predictor on `device`.
        settings: settings of the training run.
        device: device to train on.
        steps_per_epoch: number of steps per epoch, used by the learning rate schedule.
    """

    def __init__(
        self, model: STTran, settings: TrainingConfig, device: torch.device, steps_per_epoch: int
    ) -> None:
        self.model, self.settings, self.device = model, settings, device
        self.total_steps = settings.epochs * steps_per_epoch
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        # The published settings of STTran.
        self.plateau = ReduceLROnPlateau(
            self.optimizer,
            mode="max",
            factor=0.5,
            patience=1,
            threshold=1e-4,
            threshold_mode="abs",
            min_lr=1e-7,
        )
        self.scaler = build_scaler(settings.amp, device)
        self.progress = RelationProgress()

    def step(self, sample: RelationSample) -> dict[str, Any]:
        """Run one optimiser step.

        Returns:
            Log entry with `lr`, `loss`, `terms` and `grad_norm`.

        Raises:
            StageError: if the loss is not finite. The message names the videos.
        """
        s = self.settings
        if s.schedule is Schedule.cosine:
            factor = learning_rate_factor(self.progress.step, self.total_steps, s.warmup)
            self.optimizer.param_groups[0]["lr"] = s.lr * factor
        self.model.train()
        with autocast(s.amp, self.device):
            terms = self._terms(sample)
        videos = ", ".join(sample.video_ids)
        line = descend(
            self.model,
            self.optimizer,
            self.scaler,
            terms,
            s.clip_norm,
            step=self.progress.step,
            advice=f" on videos {videos}; lower training.lr, or check these clips",
        )
        self.progress.step += 1
        return line

    def _terms(self, sample: RelationSample) -> dict[str, Tensor]:
        pairs = sample.pairs.to(self.device)
        logits = self.model(pairs)
        kind: MultiLabelLoss = "bce" if self.settings.multi_label is MultiLabel.bce else "margin"
        terms = relation_losses(logits, sample.predicates.to(self.device), multi_label=kind)
        mine = sample.is_annotated.to(self.device)
        if self.settings.object_loss and int(mine.sum()) > 1:
            distribution, boxes = sample.distribution.to(self.device), sample.boxes.to(self.device)
            given = (pairs.features, distribution, boxes)
            said = self.model.object_classifier(*(value[mine] for value in given))
            loss = loss_objects(said.float(), pairs.labels[mine])
            terms["objects"] = self.settings.object_loss * loss
        return terms

    def end_epoch(self, recall: float | None) -> None:
        """Finish an epoch and keep its weights if its recall is the highest so far.

        Args:
            recall: R@20 on the validation videos. If None, the weights are always kept.
        """
        progress = self.progress
        progress.epoch += 1
        if recall is not None and self.settings.schedule is Schedule.plateau:
            self.plateau.step(recall)
        if recall is None or recall > progress.best_recall:
            progress.best_epoch = progress.epoch
            progress.best_recall = -1.0 if recall is None else recall
            state = self.model.state_dict()
            progress.best = {name: value.detach().cpu().clone() for name, value in state.items()}

    def save(self, run: Path, fingerprint: str) -> None:
        """Write the resumable checkpoint `state.pt`."""
        tree = {
            "progress": vars(self.progress),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "plateau": self.plateau.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_state(run, STATE_SCHEMA, fingerprint, tree, self.device)

    def load(self, run: Path, fingerprint: str) -> None:
        """Resume from the checkpoint `state.pt`.

        Raises:
            UsageError: if the checkpoint is damaged or belongs to another training run.
        """
        restore_state(run, STATE_SCHEMA, fingerprint, self._restore, self.device)

    def _restore(self, tree: dict[str, Any]) -> None:
        progress = RelationProgress(**tree["progress"])
        epoch = read_count(tree["progress"], "epoch", self.settings.epochs)
        read_count(tree["progress"], "step", self.total_steps)
        read_count(tree["progress"], "best_epoch", epoch)
        if progress.epoch:  # detect unusable best weights before training
            load_state(self.model, progress.best)
        load_state(self.model, tree["model"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.plateau.load_state_dict(tree["plateau"])
        self.scaler.load_state_dict(tree["scaler"])
        self.progress = progress
