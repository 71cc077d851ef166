"""Training step and resumable checkpoint of LaIAR."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from model.criterion import LaIARCriterion
from model.laiar import LaIAR
from model.selector import random_excerpts, random_subsets
from model.tokens import TokenBatch
from pipeline.config.schema import Amp, TrainConfig
from pipeline.errors import StageError
from pipeline.samples.dataset import SampleBatch
from pipeline.samples.labels import subset_labels
from pipeline.training.optimizer import build_optimizer, learning_rate_factor
from pipeline.training.state import read_count, restore_state, save_state
from pipeline.weights.loading import load_state

STATE_SCHEMA = "laiar.state/1"
#: Smallest probability of keeping a token of an excerpt.
EXCERPT_SHARE = 0.1
#: Differences of the validation mAP up to this value are noise: of epochs within this distance of
#: the highest mAP, the latest is the best.
MAP_NOISE = 0.01


@dataclass
class TrainingProgress:
    """Progress and best weights of a training run.

    Attributes:
        epoch: number of finished epochs.
        step: number of finished steps.
        best_epoch: latest epoch whose mAP on the validation split is at most `MAP_NOISE` below the
            highest one so far, or 0 before the first epoch.
        best_map: mAP of the best epoch, or None if it is unknown.
        highest_map: highest mAP of all epochs in which the selectors are used, or None.
        best: weights of the best epoch, on the CPU. Before the first epoch, the initial weights.
    """

    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_map: float | None = None
    highest_map: float | None = None
    best: dict[str, Tensor] = field(default_factory=dict)


class Learner:
    """LaIAR network with its optimiser and resumable checkpoint.

    Args:
        model: network on `device`.
        criterion: loss function.
        settings: settings of the training run.
        device: device to train on.
        steps_per_epoch: number of steps per epoch, used by the learning rate schedule.
    """

    def __init__(
        self,
        model: LaIAR,
        criterion: LaIARCriterion,
        settings: TrainConfig,
        device: torch.device,
        steps_per_epoch: int,
    ) -> None:
        self.model, self.criterion = model, criterion
        self.settings, self.device = settings, device
        self.optimizer = build_optimizer(
            model, settings.lr, settings.weight_decay, selector_lr=settings.selector_lr
        )
        self.steps_per_epoch, self.total_steps = steps_per_epoch, settings.epochs * steps_per_epoch
        self.progress = TrainingProgress(best=_copy_weights(model))
        self._autocast = picks_bf16(settings.amp, device)

    def step(self, batch: SampleBatch) -> dict[str, Any]:
        """Run one optimiser step.

        Returns:
            Log entry with `lr`, `loss`, `terms` (weighted loss terms), `grad_norm`, `kept` (mean
            number of tokens per video that the network was trained on), `selected` (mean number of
            tokens in the subsets that the selector drew, None if it was not trained) and `tokens`
            (mean number of tokens per video, without padding).

        Raises:
            StageError: if the loss or the gradient is not finite. The message names the videos.
        """
        assert batch.tokens is not None
        s = self.settings
        factor = learning_rate_factor(self.progress.step, self.total_steps, s.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * factor * group["scale"]
        tokens, labels = batch.tokens.to(self.device), batch.labels.to(self.device)
        self.model.train()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
            settings, keep = self.model.settings, None
            learns = self.progress.step >= s.selection_warmup * self.total_steps
            if not (learns and settings.selects and settings.selector == "gumbel"):
                keep = random_subsets(tokens.mask, s.least_share)
            price = s.token_price if learns else None
            outputs = self.model(tokens, keep=keep, price=price)
        output = outputs.video or outputs.language
        assert output is not None
        target = labels.argmax(1)
        if self.criterion.settings.multi_label:
            target = labels
            if keep is not None:
                during = batch.during.to(self.device)
                target = subset_labels(labels, during, tokens.mask, keep)
        # Outside autocast: in bfloat16, L_sim cannot tell similar labels apart.
        terms = self.criterion(outputs, target, tokens, self.model.log_scale)
        if self.criterion.settings.excerpts:
            terms["excerpts"] = self._excerpt_loss(batch, tokens, labels)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        clip = torch.nn.utils.clip_grad_norm_
        norms = [float(clip(part, s.clip_norm)) for part in self.model.parts()]
        value, length = float(loss.detach()), math.hypot(*norms)
        if not (math.isfinite(value) and math.isfinite(length)):
            raise StageError(
                f"step {self.progress.step}: a finite loss expected, got {value} (gradient norm "
                f"{length}) on videos {', '.join(batch.video_ids)}; lower train.lr, or check these "
                "clips"
            )
        self.optimizer.step()
        self.progress.step += 1
        return {
            "lr": s.lr * factor,
            "loss": value,
            "terms": {name: float(term.detach()) for name, term in terms.items()},
            "grad_norm": length,
            "kept": float(output.num_kept.float().mean()),
            "selected": outputs.drawn,
            "tokens": float(tokens.mask.sum()) / len(tokens),
        }

    def _excerpt_loss(self, batch: SampleBatch, tokens: TokenBatch, labels: Tensor) -> Tensor:
        during, logits, targets = batch.during.to(self.device), [], []
        for _ in range(self.settings.num_excerpts):
            keep = random_excerpts(tokens.mask, EXCERPT_SHARE)
            excerpt = tokens.only(keep)  # with context=all, the context is that of the excerpt too
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self._autocast):
                logits.append(self.model.read_relations(excerpt, keep=keep, gather=True).logits)
            targets.append(subset_labels(labels, during, tokens.mask, keep))
        return self.criterion.excerpt_loss(logits, targets)

    def end_epoch(self, validation_map: float | None) -> None:
        """Finish an epoch and keep its weights if it is the best so far (`TrainingProgress`).

        Args:
            validation_map: mAP on the validation split. If None, the weights are always kept.
        """
        progress, settings = self.progress, self.model.settings
        progress.epoch += 1
        value, highest = validation_map, progress.highest_map
        if value is None or highest is None or value >= highest - MAP_NOISE:
            progress.best_epoch, progress.best_map = progress.epoch, value
            progress.best = _copy_weights(self.model)
        # An epoch before selector=subset is trained does not count: any later one replaces it.
        counts = not (settings.selects and settings.selector == "subset")
        counts |= progress.step > self.settings.selection_warmup * self.total_steps
        if value is not None and counts:
            progress.highest_map = value if highest is None else max(value, highest)

    def save(self, run: Path, fingerprint: str) -> None:
        """Write the resumable checkpoint `state.pt`."""
        tree = vars(self.progress) | {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(run, STATE_SCHEMA, fingerprint, tree, self.device)

    def load(self, run: Path, fingerprint: str) -> None:
        """Resume from the checkpoint `state.pt`.

        Raises:
            UsageError: if the checkpoint is damaged or belongs to another training run.
        """

        def restore(tree: dict[str, Any]) -> None:
            epoch = read_count(tree, "epoch", self.settings.epochs)
            step = read_count(tree, "step", self.total_steps)
            if step != epoch * self.steps_per_epoch:
                raise ValueError(f"step: {epoch * self.steps_per_epoch} expected, got {step}")
            maps = [tree["best_map"], tree["highest_map"]]
            for value in maps:
                if value is not None and not (isinstance(value, float) and 0 <= value <= 1):
                    raise ValueError(f"best_map, highest_map: 0 to 1 expected, got {value!r}")
            best = tree["best"]
            load_state(self.model, best)  # raises for weights of another network
            load_state(self.model, tree["model"])
            self.optimizer.load_state_dict(tree["optimizer"])
            best_epoch = read_count(tree, "best_epoch", epoch)
            self.progress = TrainingProgress(epoch, step, best_epoch, maps[0], maps[1], best)

        restore_state(run, STATE_SCHEMA, fingerprint, restore, self.device)


def _copy_weights(model: LaIAR) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def picks_bf16(amp: Amp, device: torch.device) -> bool:
    """Return whether to use autocast with bfloat16."""
    if amp is Amp.auto:
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return amp is Amp.bf16
