"""Region proposal network."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.ops import nms

from detection.anchors import cell_anchors, grid_anchors
from detection.box_coder import clip_boxes, decode_boxes
from detection.presets import Preset


class RegionProposalNetwork(nn.Module):
    """C4 map to class-agnostic proposals.

    Args:
        channels: of the map.
        hidden: of its 3x3 convolution.
        preset: anchors, suppression.
        num_proposals: kept per frame.
    """

    def __init__(self, channels: int, hidden: int, *, preset: Preset, num_proposals: int) -> None:
        super().__init__()
        self.preset = preset
        self.num_proposals = num_proposals
        num_anchors = len(cell_anchors(preset))
        self.conv = nn.Conv2d(channels, hidden, 3, padding=1)
        self.cls_score = nn.Conv2d(hidden, 2 * num_anchors, 1)  # [background x A, object x A]
        self.bbox_pred = nn.Conv2d(hidden, 4 * num_anchors, 1)

    def forward(
        self, maps: Float[Tensor, "T Cu h w"], image_size: tuple[int, int]
    ) -> list[Float[Tensor, "_ 4"]]:
        """Propose.

        Args:
            maps: C4 maps of frames of one size.
            image_size: (height, width) of the network's input, pixels.

        Returns:
            Per frame at most `num_proposals` boxes, xyxy in network pixels, best first.
        """
        hidden = self.conv(maps).relu()
        T, _, h, w = maps.shape
        background, foreground = self.cls_score(hidden).chunk(2, 1)
        scores = torch.stack([background, foreground]).softmax(0)[1]  # (T, A, h, w)
        scores = scores.permute(0, 2, 3, 1).reshape(T, -1)
        deltas = self.bbox_pred(hidden).permute(0, 2, 3, 1).reshape(T, -1, 4)
        anchors = grid_anchors(self.preset, h, w).to(maps)
        return [
            self._select(s, anchors, d, image_size) for s, d in zip(scores, deltas, strict=True)
        ]

    def _select(
        self, scores: Tensor, anchors: Tensor, deltas: Tensor, image_size: tuple[int, int]
    ) -> Tensor:
        order = scores.argsort(descending=True, stable=True)[: self.preset.pre_nms]
        offset = self.preset.pixel_offset
        boxes = decode_boxes(anchors[order], deltas[order], offset)
        boxes = clip_boxes(boxes, image_size[1], image_size[0], offset)
        kept = nms(with_offset(boxes, offset), scores[order], self.preset.rpn_nms)
        return boxes[kept[: self.num_proposals]]


def with_offset(boxes: Float[Tensor, "N 4"], offset: float) -> Float[Tensor, "N 4"]:
    """Boxes whose plain areas and overlaps are those of `boxes` counted with +offset widths."""
    return torch.cat([boxes[:, :2], boxes[:, 2:] + offset], 1)
