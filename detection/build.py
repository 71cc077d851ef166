"""Sizes live here, not in the modules."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from detection.detector import Detector
from detection.presets import PRESETS, Preset, adapt
from detection.resnet import STAGES, PyramidTrunk, Trunk
from detection.roi_heads import RoIHead, Stage4, TwoLayers
from detection.rpn import RegionProposalNetwork

#: Wider networks are mistakes.
MAX_WIDTH = 65536


@dataclass(frozen=True)
class NetworkSize:
    """How large a network is; the defaults are the published ones.

    Attributes:
        depth: of the ResNet: 101, or another of `STAGES`.
        width: channels of the stem. In a C4 network F = 32 width, Cu = 16 width.
        fpn_channels: Cu of an FPN.
        head_width: F of an FPN.
        anchor_scale: multiplies the anchors' sizes and the box sizes at which FPN levels change;
            less than 1 for networks that see smaller images.

    Raises:
        ValueError: for a depth that is not there, a size that is no whole number from 1 to
            `MAX_WIDTH`, or a scale outside 1/1000 to 1000.
    """

    depth: int = 101
    width: int = 64
    fpn_channels: int = 256
    head_width: int = 1024
    anchor_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.depth not in STAGES:
            raise ValueError(f"depth in {sorted(STAGES)} expected, got {self.depth}")
        for name in ("width", "fpn_channels", "head_width"):
            value = getattr(self, name)
            if type(value) is not int or not 1 <= value <= MAX_WIDTH:
                raise ValueError(f"{name}: 1 to {MAX_WIDTH} expected, got {value!r}")
        scale = self.anchor_scale
        if not isinstance(scale, int | float) or not 1e-3 <= scale <= 1e3:
            raise ValueError(f"anchor_scale: 0.001 to 1000 expected, got {scale!r}")


def build_detector(
    *,
    num_classes: int,
    preset: str = "action-genome",
    size: NetworkSize | None = None,
    short_side: int | None = None,
    proposals: int | None = None,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
    max_boxes: int | None = None,
) -> Detector:
    """Faster R-CNN without weights.

    Args:
        num_classes: O, person first, without background.
        preset: conventions, a key of `PRESETS`; says whether the network is a C4 or an FPN.
        size: of the network, the published one unless given.
        short_side: frames are scaled until their short side has this many pixels.
        proposals: per frame.
        score_threshold: see `Selection`, as the next two.
        nms_threshold: IoU.
        max_boxes: per frame.
        The last five keep the preset's number when None.

    Returns:
        A detector in eval mode.

    Raises:
        ValueError: for a preset that is not there.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset in {sorted(PRESETS)} expected, got {preset!r}")
    size = size or NetworkSize()
    rules = adapt(
        PRESETS[preset],
        short_side=short_side,
        proposals=proposals,
        score_threshold=score_threshold,
        nms_threshold=nms_threshold,
        max_boxes=max_boxes,
        anchor_scale=size.anchor_scale,
    )
    build = _build_c4 if rules.network == "c4" else _build_fpn
    return build(num_classes, rules, size).eval()


def _build_c4(num_classes: int, preset: Preset, size: NetworkSize) -> Detector:
    blocks, channels = STAGES[size.depth], 16 * size.width
    head = RoIHead(
        Stage4(channels, blocks=blocks[3], preset=preset),
        2 * channels,
        union_channels=channels,
        num_classes=num_classes,
        preset=preset,
    )
    trunk = Trunk(blocks[:3], size.width, preset=preset)
    return Detector(trunk, RegionProposalNetwork(channels, preset=preset), head, preset=preset)


def _build_fpn(num_classes: int, preset: Preset, size: NetworkSize) -> Detector:
    channels = size.fpn_channels
    head = RoIHead(
        TwoLayers(channels, preset.pooling.size, size.head_width),
        size.head_width,
        union_channels=channels,
        num_classes=num_classes,
        preset=preset,
        anchor_scale=size.anchor_scale,
    )
    trunk = PyramidTrunk(STAGES[size.depth], size.width, channels, preset=preset)
    return Detector(trunk, RegionProposalNetwork(channels, preset=preset), head, preset=preset)


def seed_weights(detector: nn.Module, seed: int) -> None:
    """Fill with random numbers that depend on the seed and each tensor's name alone.

    Convolutions are He-normal, the stem by 1/80 where pixels are 0-255, the last norm of each
    bottleneck by 1/4, so that activations neither vanish nor explode. The classifier's rows are
    centred and wide enough that some classes pass the score threshold.
    """

    def filled(name: str, value: Tensor) -> Tensor:
        generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
        return _scaled(name, torch.randn(value.shape, generator=generator))

    _fill(detector, filled)


def _scaled(name: str, noise: Tensor) -> Tensor:
    if noise.ndim == 1:
        if name.endswith("bias"):
            return 0.05 * noise
        return torch.full_like(noise, 0.25 if name.endswith("bn3.weight") else 1.0)
    gain = 1.0
    if name in ("trunk.conv1.weight", "trunk.body.conv1.weight"):
        gain = 1 / 80
    elif name == "rpn.bbox_pred.weight":
        gain = 0.1
    elif name == "roi_head.cls_score.weight":
        gain = 3.0
    if name.split(".")[1] in ("cls_score", "bbox_pred"):
        noise = noise - noise.flatten(1).mean(1).view([-1] + [1] * (noise.ndim - 1))
    return gain * math.sqrt(2 / noise[0].numel()) * noise


def init_weights(detector: nn.Module, seed: int) -> None:
    """Fill with what a training from scratch begins with.

    He-normal kernels (the last two layers and the RPN's outputs narrow, as in detectron2), ones and
    zeros for norms, zeros for biases.
    """
    generator = torch.Generator().manual_seed(seed)

    def filled(name: str, value: Tensor) -> Tensor:
        if value.ndim == 1:  # a norm's weight, or a bias
            return torch.full_like(value, 1.0 if name.endswith("weight") else 0.0)
        narrow = {"cls_score": 0.01, "bbox_pred": 0.01 if name.startswith("rpn") else 0.001}
        std = narrow.get(name.split(".")[1], math.sqrt(2 / value[0].numel()))
        return std * torch.randn(value.shape, generator=generator)

    _fill(detector, filled)


def _fill(detector: nn.Module, filled: Callable[[str, Tensor], Tensor]) -> None:
    with torch.no_grad():
        for name, value in detector.named_parameters():
            value.copy_(filled(name, value))
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
