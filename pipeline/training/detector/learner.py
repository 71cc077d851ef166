"""The step of a detector's training, and the state it is taken up again from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from detection.detector import Detector
from detection.loss import DetectionLoss, LossSettings, Targets
from detection.preprocess import preprocess
from detection.presets import Pixels, adapt
from detection.resnet import PyramidTrunk
from pipeline.errors import UsageError
from pipeline.runtime.files import json_int
from pipeline.training.detector.batches import ImageBatch
from pipeline.training.detector.settings import Optimizer, Schedule, TrainingConfig
from pipeline.training.optimizer import autocast, build_scaler, descend
from pipeline.training.state import read_count, restore_state, save_state

STATE_SCHEMA = "laiar.detector-state/1"
_STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class NetworkBatch:
    """What the loss takes, on a device."""

    images: Tensor
    sizes: list[tuple[int, int]]
    targets: list[Targets]


def to_network_batch(batch: ImageBatch, pixels: Pixels, device: torch.device) -> NetworkBatch:
    """Normalise, scale and pad images to one size; boxes follow."""
    inputs, targets = [], []
    for image, boxes, labels in zip(batch.images, batch.boxes, batch.labels, strict=True):
        ready = preprocess(image[None].to(device), pixels)
        scale = boxes.new_tensor([*ready.scale, *ready.scale])
        inputs.append(ready)
        targets.append(Targets((boxes * scale).to(device), labels.to(device)))
    height, width = (max(sides) for sides in zip(*(r.padded_size for r in inputs), strict=True))
    rooms = [(0, width - r.padded_size[1], 0, height - r.padded_size[0]) for r in inputs]
    images = torch.cat([F.pad(r.images, room) for r, room in zip(inputs, rooms, strict=True)])
    return NetworkBatch(images, [ready.size for ready in inputs], targets)


class DetectorLearner:
    """A detector while it is trained.

    Args:
        detector: on `device`.
        settings: of the training.
        loss: sampling of anchors and proposals.
        device: where to work.
        total_steps: of the whole training, for the schedule.
        rank: of this process; every step draws its anchors and proposals from (seed, step, rank),
            so that a training can be taken up anywhere.
        is_distributed: one of several processes.
    """

    def __init__(
        self,
        detector: Detector,
        settings: TrainingConfig,
        loss: LossSettings,
        *,
        device: torch.device,
        total_steps: int,
        rank: int = 0,
        is_distributed: bool = False,
    ) -> None:
        self.detector, self.settings, self.device = detector, settings, device
        self.total_steps, self.step_number, self.rank = total_steps, 0, rank
        self.frozen = freeze(detector, settings)
        detector.to(memory_format=torch.channels_last)
        module: nn.Module = DetectionLoss(detector, loss)
        if is_distributed:
            module = nn.parallel.DistributedDataParallel(
                module, device_ids=[device] if device.type == "cuda" else None
            )
        self.loss = module
        self.optimizer = build_optimizer(detector, settings)
        self.scaler = build_scaler(settings.amp, device)

    def step(self, batch: ImageBatch) -> dict[str, Any]:
        """One step of the optimiser.

        Returns:
            A line for the log: lr, loss, each term, gradient norm.

        Raises:
            StageError: if the loss is not finite.
        """
        s = self.settings
        for group in self.optimizer.param_groups:
            group["lr"] = s.lr * rate_factor(self.step_number, self.total_steps, s)
        pixels = self.detector.preset.pixels
        if batch.short_side is not None:
            pixels = adapt(self.detector.preset, short_side=batch.short_side).pixels
        ready = to_network_batch(batch, pixels, self.device)
        train_mode(self.detector, self.frozen, keep_norm=s.freeze_norm)
        images = ready.images.contiguous(memory_format=torch.channels_last)
        torch.manual_seed(json_int([s.seed, self.step_number, self.rank]))
        with autocast(s.amp, self.device):
            terms = self.loss(images, ready.sizes, ready.targets)
        line = descend(
            self.detector,
            self.optimizer,
            self.scaler,
            terms,
            s.clip_norm or math.inf,
            step=self.step_number,
            advice="; lower training.lr, or raise training.warmup_steps",
        )
        self.step_number += 1
        return line

    def save(self, run: Path, fingerprint: str) -> None:
        """Write `state.pt`."""
        tree = {
            "step": self.step_number,
            "model": self.detector.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_state(run, STATE_SCHEMA, fingerprint, tree, self.device)

    def load(self, run: Path, fingerprint: str) -> None:
        """Take up a training; UsageError if its state is damaged or of other settings."""
        restore_state(run, STATE_SCHEMA, fingerprint, self._restore, self.device)

    def _restore(self, tree: dict[str, Any]) -> None:
        self.detector.load_state_dict(tree["model"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.scaler.load_state_dict(tree["scaler"])
        self.step_number = read_count(tree, "step", self.total_steps)


def freeze(detector: Detector, settings: TrainingConfig) -> list[nn.Module]:
    """Stop the gradient of the first stages; returns them, for their norms to stay as they are."""
    trunk = detector.trunk.body if isinstance(detector.trunk, PyramidTrunk) else detector.trunk
    frozen: list[nn.Module] = []
    if settings.freeze_at >= 1:
        frozen += [trunk.conv1, trunk.bn1]
    for name in _STAGES[: max(settings.freeze_at - 1, 0)]:
        stage = getattr(trunk, name, None) or getattr(detector.roi_head.body, name, None)
        if stage is not None:
            frozen.append(stage)
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def train_mode(detector: Detector, frozen: Sequence[nn.Module], *, keep_norm: bool) -> None:
    """Train mode, but for frozen parts and, if asked, every batch normalisation."""
    detector.train()
    for module in frozen:
        module.eval()
    if keep_norm:
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def build_optimizer(detector: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """SGD or AdamW; matrices and kernels decay, biases and norms do not."""
    values = [v for v in detector.parameters() if v.requires_grad]
    groups = [
        {"params": [v for v in values if v.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [v for v in values if v.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UsageError("training.freeze_at: something to train expected, everything is frozen")
    if settings.optimizer is Optimizer.adamw:
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


def rate_factor(step: int, total: int, settings: TrainingConfig) -> float:
    """Linear rise from 0.001 in `warmup_steps`, then steps or half a cosine to zero."""
    if step < settings.warmup_steps:
        share = step / settings.warmup_steps
        return 0.001 * (1 - share) + share
    if settings.schedule is Schedule.step:
        return float(0.1 ** sum(step >= share * total for share in settings.milestones))
    rest = max(total - settings.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / rest))


def with_new_heads(state: dict[str, Tensor], detector: Detector) -> dict[str, Tensor]:
    """A state whose two last layers are the detector's own."""
    own = detector.state_dict()
    heads = {n: v for n, v in own.items() if n.startswith(("roi_head.cls_", "roi_head.bbox_"))}
    return state | heads
