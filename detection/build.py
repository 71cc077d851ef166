"""Sizes live here, not in the modules."""

import math
import zlib

import torch
from torch import nn

from detection.detector import Detector
from detection.postprocess import PostProcess
from detection.presets import PRESETS
from detection.resnet import STAGES, Trunk
from detection.roi_heads import RoIHead
from detection.rpn import RegionProposalNetwork


def build_detector(
    *,
    num_classes: int,
    depth: int = 101,
    width: int = 64,
    preset: str = "action-genome",
    short_side: int = 600,
    proposals: int = 100,
    score_threshold: float = 0.1,
    nms_threshold: float = 0.4,
    max_boxes: int = 64,
) -> Detector:
    """Faster R-CNN C4 without weights.

    Args:
        num_classes: O, person first, without background.
        depth: of the ResNet: 101, or one of `STAGES`.
        width: channels of the stem; F = 32 width, Cu = 16 width.
        preset: conventions, a key of `PRESETS`.
        short_side: frames are scaled until their short side has this many pixels.
        proposals: per frame.
        score_threshold: see `PostProcess`.
        nms_threshold: see `PostProcess`.
        max_boxes: see `PostProcess`.

    Returns:
        A detector in eval mode.

    Raises:
        ValueError: for a depth or preset that is not there.
    """
    if depth not in STAGES or preset not in PRESETS:
        raise ValueError(
            f"depth in {sorted(STAGES)} and preset in {sorted(PRESETS)} expected, "
            f"got {depth} and {preset!r}"
        )
    rules, blocks = PRESETS[preset], STAGES[depth]
    channels = 16 * width
    return Detector(
        Trunk(
            blocks,
            width,
            stride_on_conv1=rules.stride_on_conv1,
            stem_padding=rules.stem_padding,
        ),
        RegionProposalNetwork(channels, channels // 2, preset=rules, num_proposals=proposals),
        RoIHead(channels, num_classes, blocks=blocks[3], preset=rules),
        postprocess=PostProcess(rules, score_threshold, nms_threshold, max_boxes),
        preset=rules,
        short_side=short_side,
    ).eval()


def seed_weights(detector: Detector, seed: int) -> None:
    """Fill with random numbers that depend on the seed and each tensor's name alone.

    Convolutions are He-normal, the stem by 1/80 (pixels are 0-255), the last norm of each
    bottleneck by 1/4, so that activations neither vanish nor explode. The classifier's rows are
    centred and wide enough that some classes pass the score threshold.
    """
    with torch.no_grad():
        for name, value in detector.named_parameters():
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{name}".encode()))
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(_scaled(name, noise))
        for module in detector.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()


def _scaled(name: str, noise: torch.Tensor) -> torch.Tensor:
    if noise.ndim == 1:
        if name.endswith("bias"):
            return 0.05 * noise
        return torch.full_like(noise, 0.25 if name.endswith("bn3.weight") else 1.0)
    gain = {"trunk.conv1.weight": 1 / 80, "rpn.bbox_pred.weight": 0.1}.get(name, 1.0)
    if name == "roi_head.cls_score.weight":
        gain = 3.0
    if name.split(".")[1] in ("cls_score", "bbox_pred"):
        noise = noise - noise.flatten(1).mean(1).view([-1] + [1] * (noise.ndim - 1))
    return gain * math.sqrt(2 / noise[0].numel()) * noise
