"""Training of a relation predictor: network, loss, data and validation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
    has_recall,
    predict_scene,
)
from pipeline.evaluation.relations.scores import Tally, count_right, shares_by_group
from pipeline.samples.dataset import shuffled_batches
from pipeline.training.optimizer import autocast, learning_rate_factor
from pipeline.training.parts import Part
from pipeline.training.relations.samples import (
    GROUND_TRUTH,
    RelationClips,
    RelationSample,
    join_whole,
    read_annotated,
)
from pipeline.training.relations.settings import MultiLabel, Schedule, TrainingConfig
from pipeline.training.task import Objective, PartLoss, Task
from relations.loss import MultiLabelLoss, loss_objects, relation_losses
from relations.recall import recall_table
from relations.settings import OBJECTS
from relations.sttran import STTran


@dataclass(frozen=True)
class RelationClipSplits:
    """Clips of a training run.

    Attributes:
        info: description of the cache.
        training: clips to train on.
        validation: held-out clips.
        test: annotated clips of the test subjects, for a dataset with folds.
    """

    info: CacheInfo
    training: list[ClipEntry]
    validation: list[ClipEntry]
    test: list[ClipEntry]


class RelationObjective(Objective):
    """Loss of a relation predictor.

    Args:
        model: predictor on `device`.
        settings: settings of the training run.
        device: device to train on.
    """

    def __init__(self, model: STTran, settings: TrainingConfig, device: torch.device) -> None:
        super().__init__()
        self.model, self.settings, self.device = model, settings, device
        self.counted = (*model.settings.groups, OBJECTS)

    def counts(self, batch: RelationSample) -> dict[str, float]:
        """Return the numbers of pairs with predicates of each group, and of annotated boxes."""
        groups = self.model.settings.groups
        parts = batch.predicates.split(list(groups.values()), 1)
        known = {name: float(part.any(1).sum()) for name, part in zip(groups, parts, strict=True)}
        return known | {OBJECTS: float(batch.is_annotated.sum())}

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
        if not self.settings.object_loss or part.totals[OBJECTS] < 2:
            return terms
        # Batch normalisation needs two boxes, in this pass or in those of all processes.
        terms[OBJECTS] = pairs.features.new_zeros(())
        if part.processes.count > 1 or int(mine.sum()) > 1:
            distribution, boxes = batch.distribution.to(self.device), batch.boxes.to(self.device)
            given = (pairs.features, distribution, boxes)
            said = self.model.object_classifier(*(value[mine] for value in given))
            loss = loss_objects(said.float(), pairs.labels[mine])
            terms[OBJECTS] = self.settings.object_loss * loss
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
        """Return R@20 (PredCLS, with constraint), and the accuracy by group, on held-out videos.

        For other groups of predicates than those of Action Genome, the mean accuracy replaces R@20.
        """
        info = self.clips.info
        self.model.eval()
        if not has_recall(info):
            found = measure_accuracy(self.predictor, self.clips.validation)
            known = {f"accuracy_{name}": share for name, share in found.items()}
            shares = [share for share in found.values() if share is not None]
            mean = sum(shares) / len(shares) if shares else None
            return mean, {"accuracy": mean} | known
        tally, sizes = Tally(), group_sizes(info)
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
        name = "R@20" if "recall_20" in row else "accuracy"
        value = row.get("recall_20", row.get("accuracy"))
        return "" if value is None else f", validation {name} {value:.4f}"


def measure_accuracy(model: STTran, clips: Sequence[ClipEntry]) -> dict[str, float | None]:
    """Return the share of pairs whose best predicate of a group is annotated, by group.

    Only pairs with an annotated predicate of the group are counted. The share is None without such
    pairs.

    Args:
        model: predictor in eval mode.
        clips: clips with annotated relations.

    Raises:
        ItemError: BAD_CACHE if a clip is damaged.
    """
    groups = model.settings.groups
    right = total = np.zeros(len(groups), dtype=np.int64)
    for entry in clips:
        clip = read_annotated(entry)
        said = predict_scene(model, build_scene(clip, Mode.predcls)).numpy()
        counts = count_right(clip.predicates[GROUND_TRUTH].numpy(), said, list(groups.values()))
        right, total = right + counts[0], total + counts[1]
    return shares_by_group(groups, right, total)
