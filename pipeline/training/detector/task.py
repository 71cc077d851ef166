"""Training of a detector: network, loss and data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
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
from pipeline.training.detector.batches import Draw, FrameImages, ImageBatch, ImageOrder, collate
from pipeline.training.detector.settings import Optimizer, Schedule, TrainingConfig
from pipeline.training.optimizer import autocast
from pipeline.training.parts import Part
from pipeline.training.task import Objective, PartLoss, Task

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


class DetectorObjective(Objective):
    """Loss of a detector.

    Args:
        detector: detector on `device`.
        settings: settings of the training run.
        loss: settings of the loss and of the sampling of anchors and proposals.
        device: device to train on.
    """

    counted = ("images",)

    def __init__(
        self,
        detector: Detector,
        settings: TrainingConfig,
        loss: LossSettings,
        device: torch.device,
    ) -> None:
        super().__init__()
        self.loss = DetectionLoss(detector, loss)
        self.settings, self.device = settings, device

    def counts(self, batch: ImageBatch) -> dict[str, float]:
        """Return the number of images."""
        return {"images": len(batch.images)}

    def forward(self, batch: ImageBatch, part: Part) -> PartLoss:
        """Compute the losses of `DetectionLoss`."""
        preset = self.loss.detector.preset
        if batch.short_side is not None:
            preset = adapt(preset, short_side=batch.short_side)
        ready = to_network_batch(batch, preset.pixels, self.device)
        images = ready.images.contiguous(memory_format=torch.channels_last)
        seeds = part.seeds(batch.names)
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with autocast(self.settings.amp, self.device):
            terms = self.loss(images, ready.sizes, ready.targets, generators)
        return PartLoss({name: part.shares["images"] * term for name, term in terms.items()})


class DetectorTask(Task):
    """Network, loss and data of a training run of a detector.

    Args:
        detector: detector on `device`.
        images: annotated frames.
        order: order of the frames.
        settings: settings of the training run.
        loss: settings of the loss and of the sampling of anchors and proposals.
        device: device to train on.
    """

    state_schema = "laiar.detector-state/2"
    advice = "lower training.lr, or raise training.warmup_steps"
    keeps_best = False

    def __init__(
        self,
        detector: Detector,
        images: FrameImages,
        order: ImageOrder,
        settings: TrainingConfig,
        loss: LossSettings,
        device: torch.device,
    ) -> None:
        self.model = self.detector = detector
        self.data, self.order, self.settings = images, order, settings
        self.frozen = freeze(detector, settings)
        detector.to(memory_format=torch.channels_last)
        self.objective = DetectorObjective(detector, settings, loss, device)
        self.optimizer = build_optimizer(detector, settings)
        self.total_steps = settings.epochs * len(self.steps(0))

    def steps(self, epoch: int) -> list[list[Draw]]:
        """Return the images of each step of an epoch."""
        return self.order.steps(epoch)

    def collate(self, items: list[Any]) -> ImageBatch:
        """Join images into a batch."""
        return collate(items)

    def names(self, batch: ImageBatch) -> Sequence[str]:
        """Return the names of the images of a batch."""
        return batch.names

    def set_learning_rate(self, step: int) -> None:
        """Set the learning rate of a step, see `rate_factor`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.lr * rate_factor(step, self.total_steps, self.settings)

    def train_mode(self) -> None:
        """Set all modules except the frozen ones to train mode."""
        train_mode(self.detector, self.frozen, keep_norm=self.settings.freeze_norm)


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
