"""From regions of the C4 map to box features, class scores and box deltas."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import roi_align

from detection.presets import Preset
from detection.resnet import build_stage


class RoIHead(nn.Module):
    """RoIAlign, stage 4, mean over the region, two linear layers.

    Args:
        channels: of the C4 map; the box feature has twice as many.
        num_classes: O, without background.
        blocks: bottlenecks of stage 4.
        preset: pool size, stride convention.
    """

    def __init__(self, channels: int, num_classes: int, *, blocks: int, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.layer4 = build_stage(
            channels,
            channels // 2,
            blocks=blocks,
            stride=2,
            stride_on_conv1=preset.stride_on_conv1,
        )
        self.cls_score = nn.Linear(2 * channels, num_classes + 1)  # 0 is the background
        self.bbox_pred = nn.Linear(2 * channels, 4 * (num_classes + 1))

    def pool(
        self, maps: Float[Tensor, "T Cu h w"], boxes: list[Float[Tensor, "_ 4"]]
    ) -> Float[Tensor, "N Cu S S"]:
        """RoIAlign with adaptive sampling and no half-pixel shift; boxes in network pixels."""
        size = self.preset.pool_size
        return roi_align(maps, boxes, (size, size), 1 / self.preset.stride, 0, aligned=False)

    def features(self, pooled: Float[Tensor, "N Cu S S"]) -> Float[Tensor, "N F"]:
        """Box features."""
        return self.layer4(pooled).mean((2, 3)) if len(pooled) else self._no_features(pooled)

    def _no_features(self, pooled: Tensor) -> Tensor:
        return torch.zeros(0, self.cls_score.in_features, device=pooled.device)
