"""Training of a relation predictor: network, loss, data and validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from pipeline.cache.folder import CacheInfo
from pipeline.cache.listing import ClipEntry
from pipeline.errors import ItemError, StageError
from pipeline.evaluation.relations.graphs import (
    Mode,
    build_scene,
    cached_truth,
    group_sizes,
    predict_scene,
)
from pipeline.evaluation.relations.scores import Tally
from pipeline.samples.dataset import shuffled_batches
from pipeline.training.optimizer import autocast, learning_rate_factor
from pipeline.training.parts import Part
from pipeline.training.relations.samples import (
    RelationClips,
    RelationSample,
    join_whole,
    read_annotated,
)
from pipeline.training.relations.settings import MultiLabel, Schedule, TrainingConfig
from pipeline.training.task import Objective, PartLoss, Task
from relations.loss import MultiLabelLoss, loss_objects, relation_losses
from relations.recall import recall_table
from relations.sttran import STTran

_GROUPS = ("attention", "spatial", "contacting")


@dataclass(frozen=True)
class RelationClipSplits:
    """Clips of a training run.

    Attributes:
        info: description of the cache.
        training: clips to train on.
        validation: held-out clips.
    """

    info: CacheInfo
    training: list[ClipEntry]
    validation: list[ClipEntry]


class RelationObjective(Objective):
    """Loss of a relation predictor.

    Args:
        model: predictor on `device`.
        settings: settings of the training run.
        device: device to train on.
    """

    counted = (*_GROUPS, "objects")

    def __init__(self, model: STTran, settings: TrainingConfig, device: torch.device) -> None:
        super().__init__()
        self.model, self.settings, self.device = model, settings, device

    def counts(self, batch: RelationSample) -> dict[str, float]:
        """Return the numbers of pairs with predicates of each group, and of annotated boxes."""
        s = self.model.settings
        parts = batch.predicates.split([s.attention, s.spatial, s.contacting], 1)
        known = {name: float(part.any(1).sum()) for name, part in zip(_GROUPS, parts, strict=True)}
        return known | {"objects": float(batch.is_annotated.sum())}

    def forward(self, batch: RelationSample, part: Part) -> PartLoss:
        """Compute the losses of `relation_losses`, and `objects`, that of the object classifier."""
        with autocast(self.settings.amp, self.device):
            terms = self._terms(batch, part)
        return PartLoss({name: part.shares[name] * term for name, term in terms.items()})

    def _terms(self, batch: RelationSample, part: Part) -> dict[str, Tensor]:
        pairs = batch.pairs.to(self.device)
        logits = self.model(pairs)
        kind: MultiLabelLoss = "bce" if self.settings.multi_label is MultiLabel.bce else "margin"
        terms = relation_losses(logits, batch.predicates.to(self.device), multi_label=kind)
        mine = batch.is_annotated.to(self.device)
        if not self.settings.object_loss or part.totals["objects"] < 2:
            return terms
        # Batch normalisation needs two boxes, in this pass or in those of all processes.
        terms["objects"] = pairs.features.new_zeros(())
        if part.processes.count > 1 or int(mine.sum()) > 1:
            distribution, boxes = batch.distribution.to(self.device), batch.boxes.to(self.device)
            given = (pairs.features, distribution, boxes)
            said = self.model.object_classifier(*(value[mine] for value in given))
            loss = loss_objects(said.float(), pairs.labels[mine])
            terms["objects"] = self.settings.object_loss * loss
        return terms


class RelationTask(Task):
    """Network, data and validation of a training run of a relation predictor.

    Args:
        model: predictor on `device`.
        clips: clips of the training run.
        settings: settings of the training run.
        device: device to train on.
    """

    state_schema = "laiar.predictor-state/2"
    advice = "lower training.lr, or check these clips"

    def __init__(
        self,
        model: STTran,
        clips: RelationClipSplits,
        settings: TrainingConfig,
        device: torch.device,
    ) -> None:
        self.model = self.predictor = model
        self.clips, self.settings = clips, settings
        self.objective = RelationObjective(model, settings, device)
        self.data = RelationClips(clips.training)
        self.total_steps = settings.epochs * len(self.steps(0))
        self.optimizer = torch.optim.AdamW(
            model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay
        )
        if settings.schedule is Schedule.plateau:  # with the published settings of STTran
            self.plateau = ReduceLROnPlateau(
                self.optimizer,
                mode="max",
                factor=0.5,
                patience=1,
                threshold=1e-4,
                threshold_mode="abs",
                min_lr=1e-7,
            )

    def steps(self, epoch: int) -> list[list[int]]:
        """Return the clips of each step of an epoch."""
        draw = (self.settings.seed, epoch)
        return shuffled_batches(len(self.clips.training), self.settings.batch_size, draw)

    def collate(self, items: list[Any]) -> RelationSample | ItemError:
        """Join samples into a batch, or return the first error."""
        return join_whole(items)

    def names(self, batch: RelationSample | ItemError) -> Sequence[str]:
        """Return the ids of the videos of a batch.

        Raises:
            StageError: if a clip could not be read.
        """
        if isinstance(batch, ItemError):
            raise StageError(str(batch)) from batch
        return batch.video_ids

    def set_learning_rate(self, step: int) -> None:
        """Set the learning rate of a step with `schedule=cosine`."""
        s = self.settings
        if s.schedule is Schedule.cosine:
            factor = learning_rate_factor(step, self.total_steps, s.warmup)
            self.optimizer.param_groups[0]["lr"] = s.lr * factor

    def validate(self) -> tuple[float | None, dict[str, Any]]:
        """Return R@20 (PredCLS, with constraint), and the accuracy by group, on held-out videos."""
        info = self.clips.info
        tally, sizes = Tally(), group_sizes(info)
        self.model.eval()
        for entry in self.clips.validation:
            clip = read_annotated(entry)
            scene = build_scene(clip, Mode.predcls)
            graphs = scene.graphs(predict_scene(self.predictor, scene), sizes)
            tally.add(cached_truth(clip, sizes), graphs)
        if not tally.frames["with"]:
            return None, {"recall_20": None}
        recall = recall_table(tally.frames["with"], [20])[20]
        accuracy = tally.accuracy(info.predicate_groups)
        known = {f"accuracy_{name}": share for name, share in accuracy.items()}
        return recall, {"recall_20": recall} | known

    def sentence(self, row: dict[str, Any]) -> str:
        """Describe an epoch for the log."""
        recall = row["recall_20"]
        return "" if recall is None else f", validation R@20 {recall:.4f}"
