"""Training step and resumable checkpoint of a detector."""

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
    """Inputs of the detection loss, on one device.

    Attributes:
        images: (B, 3, H, W) normalised images, padded to a common size.
        sizes: (height, width) of each image without padding.
        targets: boxes and labels of each image, in network pixels.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    targets: list[Targets]


def to_network_batch(batch: ImageBatch, pixels: Pixels, device: torch.device) -> NetworkBatch:
    """Normalise and resize images, pad them to a common size, and scale their boxes."""
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
    """Detector with its optimiser and resumable checkpoint.

    Args:
        detector: detector on `device`.
        settings: settings of the training run.
        loss: settings of the loss and of the sampling of anchors and proposals.
        device: device to train on.
        total_steps: number of steps of the whole training run, used by the schedule.
        rank: index of this process. Each step samples anchors and proposals with the seed
            (seed, step, rank), so that a training run can resume at any step.
        is_distributed: whether several processes train the detector.
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
        """Run one optimiser step.

        Returns:
            Log entry with `lr`, `loss`, `terms` and `grad_norm`.

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
        """Write the resumable checkpoint `state.pt`."""
        tree = {
            "step": self.step_number,
            "model": self.detector.state_dict(),
            "optimizer": self.optimizer.state_dict(),
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
        self.detector.load_state_dict(tree["model"])
        self.optimizer.load_state_dict(tree["optimizer"])
        self.scaler.load_state_dict(tree["scaler"])
        self.step_number = read_count(tree, "step", self.total_steps)


def freeze(detector: Detector, settings: TrainingConfig) -> list[nn.Module]:
    """Freeze the parameters of the first stages.

    Returns:
        The frozen modules. They must stay in eval mode, so that their norms keep their statistics.
    """
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
    """Set all modules except the frozen modules to train mode.

    With `keep_norm`, batch normalisation also stays in eval mode.
    """
    detector.train()
    for module in frozen:
        module.eval()
    if keep_norm:
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()


def build_optimizer(detector: nn.Module, settings: TrainingConfig) -> torch.optim.Optimizer:
    """Build the optimiser (SGD or AdamW).

    Weight decay is applied to matrices and kernels, but not to biases and norms.

    Raises:
        UsageError: if all parameters are frozen.
    """
    values = [v for v in detector.parameters() if v.requires_grad]
    groups = [
        {"params": [v for v in values if v.ndim > 1], "weight_decay": settings.weight_decay},
        {"params": [v for v in values if v.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if not groups:
        raise UsageError("training.freeze_at: all parameters are frozen; lower it")
    if settings.optimizer is Optimizer.adamw:
        return torch.optim.AdamW(groups, lr=settings.lr)
    return torch.optim.SGD(groups, lr=settings.lr, momentum=settings.momentum)


def rate_factor(step: int, total: int, settings: TrainingConfig) -> float:
    """Return the factor of the learning rate at a step.

    The factor rises linearly from 0.001 to 1 over `warmup_steps`. With `schedule=step`, it is then
    divided by ten at each milestone. With `schedule=cosine`, it decreases to zero along half a
    cosine.

    Args:
        step: 0-based step.
        total: number of steps of the whole training run.
        settings: settings of the training run.
    """
    if step < settings.warmup_steps:
        share = step / settings.warmup_steps
        return 0.001 * (1 - share) + share
    if settings.schedule is Schedule.step:
        return float(0.1 ** sum(step >= share * total for share in settings.milestones))
    rest = max(total - settings.warmup_steps, 1)
    return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup_steps) / rest))


def with_new_heads(state: dict[str, Tensor], detector: Detector) -> dict[str, Tensor]:
    """Replace the last two layers in a state dict by the last two layers of the detector."""
    own = detector.state_dict()
    heads = {n: v for n, v in own.items() if n.startswith(("roi_head.cls_", "roi_head.bbox_"))}
    return state | heads
