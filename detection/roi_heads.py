"""Box heads, which compute box features, class scores and box deltas of regions."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import roi_align

from detection.presets import Preset
from detection.resnet import build_stage

#: Number of bins along each side of a pooled union box.
UNION_SIZE = 7
#: Square root of the area, in network pixels, of a box that is pooled from level P4.
CANONICAL_SIZE = 224
FIRST_LEVEL, CANONICAL_LEVEL = 2, 4


class RoIHead(nn.Module):
    """Box head that consists of RoIAlign, a body and two linear output layers.

    The output layers have O + 1 classes. Class 0 is the background.

    Args:
        body: module that computes box features (N, F) from pooled regions (N, Cu, S, S).
        feature_width: width F of the box features.
        union_channels: number of channels Cu of the feature maps.
        num_classes: number of object classes O, without background.
        preset: conventions of RoIAlign.
        anchor_scale: factor of the box sizes at which FPN levels change.
    """

    def __init__(
        self,
        body: nn.Module,
        feature_width: int,
        *,
        union_channels: int,
        num_classes: int,
        preset: Preset,
        anchor_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.preset, self.anchor_scale = preset, anchor_scale
        self.num_classes, self.feature_width = num_classes, feature_width
        self.union_channels = union_channels
        self.body = body
        self.cls_score = nn.Linear(feature_width, num_classes + 1)
        self.bbox_pred = nn.Linear(feature_width, 4 * (num_classes + 1))

    def pool(
        self, maps: Sequence[Tensor], boxes: Sequence[Float[Tensor, "_ 4"]], size: int | None = None
    ) -> Float[Tensor, "N Cu S S"]:
        """Pool boxes by RoIAlign.

        Args:
            maps: (T, Cu, h, w) feature map of each level. Level P6 of a pyramid is not used.
            boxes: (_, 4) boxes of each frame, xyxy in network pixels.
            size: number of bins S along each side. If None, the value of the preset is used.

        Returns:
            (N, Cu, S, S) float32 features of the N boxes of all frames.
        """
        size = self.preset.pooling.size if size is None else size
        if not boxes:
            return maps[0].new_zeros((0, maps[0].shape[1], size, size), dtype=torch.float32)
        frame = torch.cat([b.new_full((len(b), 1), t) for t, b in enumerate(boxes)])
        rois = torch.cat([frame, torch.cat(list(boxes))], 1).to(maps[0].device)
        if self.preset.network == "c4":
            return self._align(maps[0], rois, size, self.preset.anchors.strides[0])
        levels = self._levels(rois[:, 1:])
        pooled = maps[0].new_zeros((len(rois), maps[0].shape[1], size, size), dtype=torch.float32)
        for level, stride in enumerate(self.preset.anchors.strides[:4]):
            rows = (levels == level).nonzero()[:, 0]
            pooled = pooled.index_put((rows,), self._align(maps[level], rois[rows], size, stride))
        return pooled

    def _align(self, level: Tensor, rois: Tensor, size: int, stride: int) -> Tensor:
        rules = self.preset.pooling
        pooled: Tensor = roi_align(
            level.float().contiguous(),
            rois,
            (size, size),
            1 / stride,
            rules.sampling_ratio,
            aligned=rules.aligned,
        )
        return pooled

    def _levels(self, boxes: Tensor) -> Tensor:
        """Return the pyramid level of each box, 0 for P2 (Lin et al., Eq. 1).

        The level is floor(4 + log2(sqrt(area) / (224 anchor_scale))), clamped to P2 to P5.
        """
        sides = boxes[:, 2:] - boxes[:, :2]
        relative = sides.prod(1).sqrt() / (CANONICAL_SIZE * self.anchor_scale)
        first, second = self.preset.pooling.level_epsilon
        level = (CANONICAL_LEVEL + torch.log2(relative + first) + second).floor()
        return level.nan_to_num().clamp(FIRST_LEVEL, FIRST_LEVEL + 3).long() - FIRST_LEVEL

    def pool_unions(
        self, maps: Sequence[Tensor], boxes: Sequence[Float[Tensor, "_ 4"]]
    ) -> Float[Tensor, "N Cu 7 7"]:
        """Pool union boxes by RoIAlign to 7 x 7 bins, see `pool`."""
        return self.pool(maps, boxes, UNION_SIZE)

    def features(self, pooled: Float[Tensor, "N Cu S S"]) -> Float[Tensor, "N F"]:
        """Compute the float32 box features of pooled regions."""
        if not len(pooled):
            return pooled.new_zeros(0, self.feature_width)
        features: Tensor = self.body(pooled.to(next(self.body.parameters()).dtype))
        return features.float()


class Stage4(nn.Module):
    """Body of the C4 box head, which averages the output of stage 4 of the ResNet over a region."""

    def __init__(self, channels: int, *, blocks: int, preset: Preset) -> None:
        super().__init__()
        self.layer4 = build_stage(
            channels, channels // 2, blocks=blocks, stride=2, stride_on_conv1=preset.stride_on_conv1
        )

    def forward(self, pooled: Float[Tensor, "N Cu S S"]) -> Float[Tensor, "N F"]:
        """Return the box features."""
        maps: Tensor = self.layer4(pooled)
        return maps.mean((2, 3))


class TwoLayers(nn.Module):
    """Body of the FPN box head, which consists of two linear layers with ReLU."""

    def __init__(self, channels: int, size: int, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels * size**2, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, pooled: Float[Tensor, "N Cu S S"]) -> Float[Tensor, "N F"]:
        """Return the box features, which are the output of the second ReLU."""
        features: Tensor = self.fc2(self.fc1(pooled.flatten(1)).relu())
        return features.relu()
