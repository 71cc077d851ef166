"""Faster R-CNN C4: frames in, boxes with features out, in stages."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from detection.detections import Detections
from detection.postprocess import PostProcess
from detection.preprocess import preprocess
from detection.presets import Preset
from detection.resnet import Trunk
from detection.roi_heads import RoIHead
from detection.rpn import RegionProposalNetwork


@dataclass(frozen=True)
class FeatureMaps:
    """C4 maps of frames of one size, from which any box can be pooled.

    Attributes:
        maps: (T, Cu, h, w) float32.
        scale: network pixels per frame pixel.
        frame_size: (height, width) of the decoded frame.
        input_size: (height, width) of the network's input.
    """

    maps: Tensor
    scale: float
    frame_size: tuple[int, int]
    input_size: tuple[int, int]


class Detector(nn.Module):
    """Parts are handed in; `detect` and `describe` are the algorithm. Use in eval mode.

    Attributes:
        num_classes: O, without background.
        feature_width: F.
        union_channels: Cu.
    """

    def __init__(
        self,
        trunk: Trunk,
        rpn: RegionProposalNetwork,
        roi_head: RoIHead,
        *,
        postprocess: PostProcess,
        preset: Preset,
        short_side: int,
    ) -> None:
        super().__init__()
        self.trunk, self.rpn, self.roi_head = trunk, rpn, roi_head
        self.postprocess, self.preset, self.short_side = postprocess, preset, short_side
        self.num_classes = roi_head.cls_score.out_features - 1
        self.feature_width = roi_head.cls_score.in_features
        self.union_channels = self.feature_width // 2

    def feature_maps(self, frames: UInt8[Tensor, "T 3 H W"]) -> FeatureMaps:
        """One pass of the trunk; serves boxes and unions."""
        images, scale = preprocess(frames, self.preset, self.short_side)
        height, width = frames.shape[-2:]
        size = (images.shape[2], images.shape[3])
        return FeatureMaps(self.trunk(images), scale, (height, width), size)

    def detect(self, frames: UInt8[Tensor, "T 3 H W"]) -> tuple[list[Detections], FeatureMaps]:
        """Find the objects of frames of one size.

        Args:
            frames: RGB.

        Returns:
            Detections per frame, features of the *proposal* each box came from; and the maps.
        """
        maps = self.feature_maps(frames)
        proposals = self.rpn(maps.maps, maps.input_size)
        features = self.roi_head.features(self.roi_head.pool(maps.maps, proposals))
        parts = features.split([len(p) for p in proposals])
        return [self._detections(p, f, maps) for p, f in zip(proposals, parts, strict=True)], maps

    def _detections(self, proposals: Tensor, features: Tensor, maps: FeatureMaps) -> Detections:
        logits = self.roi_head.cls_score(features)
        boxes, labels, scores, rows = self.postprocess(
            proposals,
            logits,
            self.roi_head.bbox_pred(features),
            scale=maps.scale,
            image_size=maps.input_size,
        )
        boxes = _inside(boxes, maps.frame_size)
        distribution = logits[rows, 1:].softmax(1)
        return Detections(
            boxes, labels - 1, scores, distribution, features[rows], maps.frame_size, "proposal"
        )

    def describe(
        self,
        frames: UInt8[Tensor, "T 3 H W"],
        boxes: list[Float[Tensor, "_ 4"]],
        labels: list[Int64[Tensor, "_"]],
    ) -> tuple[list[Detections], FeatureMaps]:
        """Features of given boxes; no proposals are made.

        Args:
            frames: RGB, of one size.
            boxes: per frame, xyxy in frame pixels; clipped to the frame.
            labels: per frame, object classes of the boxes.

        Returns:
            Detections per frame with score 1, features of the *box*; and the maps.
        """
        maps = self.feature_maps(frames)
        boxes = [_inside(b, maps.frame_size) for b in boxes]
        pooled = self.roi_head.pool(maps.maps, [b * maps.scale for b in boxes])
        parts = self.roi_head.features(pooled).split([len(b) for b in boxes])
        return [
            Detections(
                box,
                label,
                torch.ones_like(box[:, 0]),
                self.roi_head.cls_score(feature)[:, 1:].softmax(1),
                feature,
                maps.frame_size,
                "box",
            )
            for box, label, feature in zip(boxes, labels, parts, strict=True)
        ], maps

    def pool_union(
        self, maps: FeatureMaps, union_boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ Cu S S"]]:
        """Pool union boxes (frame pixels) from maps that are there already."""
        pooled = self.roi_head.pool(maps.maps, [b * maps.scale for b in union_boxes])
        return list(pooled.split([len(b) for b in union_boxes]))


def _inside(boxes: Tensor, frame_size: tuple[int, int]) -> Tensor:
    limit = boxes.new_tensor([frame_size[1], frame_size[0]] * 2)
    return boxes.clamp(min=0).minimum(limit)
