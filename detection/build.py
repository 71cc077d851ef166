"""Construction and initialisation of detectors."""

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

#: Largest accepted width.
MAX_WIDTH = 65536


@dataclass(frozen=True)
class NetworkSize:
    """Sizes of a detector network.

    The defaults are the published sizes. F is the width of the box features. Cu is the number of
    channels of the union features.

    Attributes:
        depth: depth of the ResNet, a key of `STAGES`.
        width: number of channels of the stem. In a C4 network, F = 32 * width and Cu = 16 * width.
        fpn_channels: number of channels of each FPN level. In an FPN network, Cu = fpn_channels.
        head_width: width of the box head of an FPN network. In an FPN network, F = head_width.
        anchor_scale: factor of the anchor sizes and of the box sizes at which FPN levels change.
            Use a value below 1 for smaller input images.

    Raises:
        ValueError: if the depth is not a key of `STAGES`, a size is not an integer from 1 to
            `MAX_WIDTH`, or the scale is not in [0.001, 1000].
    """

    depth: int = 101
    width: int = 64
    fpn_channels: int = 256
    head_width: int = 1024
    anchor_scale: float = 1.0

    def __post_init__(self) -> None:
        if self.depth not in STAGES:
            raise ValueError(f"depth: one of {sorted(STAGES)} expected, got {self.depth}")
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
    """Build a Faster R-CNN without trained weights.

    If one of the last five arguments is None, the value of the preset is used.

    Args:
        num_classes: number of object classes O, without background.
        preset: conventions of the network, a key of `PRESETS`. It also determines whether the
            network is a C4 or an FPN.
        size: sizes of the network. If None, the published sizes are used.
        short_side: length in pixels to which the short side of a frame is scaled.
        proposals: maximum number of proposals per frame.
        score_threshold: see `Selection`.
        nms_threshold: see `Selection`.
        max_boxes: see `Selection`.

    Returns:
        Detector in eval mode.

    Raises:
        ValueError: if the preset does not exist.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset: one of {sorted(PRESETS)} expected, got {preset!r}")
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
    """Fill a detector with reproducible random weights.

    Each tensor depends only on the seed and on its name. Kernels are He-normal. The stem is scaled
    by 1/80, because pixel values range up to 255. The last norm of each bottleneck has the weight
    1/4. These scales prevent vanishing and exploding activations. The rows of the classification
    and box regression layers have zero mean. The scale of the object classifier is so large that
    some scores exceed the score threshold.

    Args:
        detector: detector built by `build_detector`, changed in place.
        seed: seed of the random numbers.
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
    """Initialise a detector for training from scratch.

    Kernels are He-normal. The kernels of the classification and box regression layers have small
    standard deviations instead, as in detectron2. Norm weights are 1, and all biases are 0.

    Args:
        detector: detector built by `build_detector`, changed in place.
        seed: seed of the random numbers.
    """
    generator = torch.Generator().manual_seed(seed)

    def filled(name: str, value: Tensor) -> Tensor:
        if value.ndim == 1:  # weight of a norm, or a bias
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
