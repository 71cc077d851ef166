"""Faster R-CNN: frames in, boxes with features out, in stages."""

from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn

from detection.detections import Detections, check_boxes
from detection.postprocess import select_boxes
from detection.preprocess import preprocess
from detection.presets import Preset
from detection.resnet import PyramidTrunk, Trunk
from detection.roi_heads import RoIHead
from detection.rpn import RegionProposalNetwork


@dataclass(frozen=True)
class FeatureMaps:
    """Maps of frames of one size, from which any box can be pooled.

    Attributes:
        levels: per level (T, Cu, h, w) float32; a C4 network has one.
        scale: (x, y), network pixels per frame pixel.
        frame_size: (height, width) of the decoded frame.
        size: (height, width) of the network's input without padding.
        padded_size: (height, width) of the network's input.
    """

    levels: tuple[Tensor, ...]
    scale: tuple[float, float]
    frame_size: tuple[int, int]
    size: tuple[int, int]
    padded_size: tuple[int, int]

    def to_network(self, boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
        """Boxes in frame pixels as network pixels."""
        return boxes * boxes.new_tensor([*self.scale, *self.scale])


class Detector(nn.Module):
    """Parts are handed in; `detect` and `describe` are the algorithm. Use in eval mode.

    Attributes:
        trunk, rpn, roi_head: ours, or parts that answer alike (see `detectron2_parts`).
        preset: conventions.
        num_classes: O, without background.
        feature_width: F.
        union_channels: Cu.
    """

    def __init__(
        self, trunk: nn.Module, rpn: nn.Module, roi_head: nn.Module, *, preset: Preset
    ) -> None:
        super().__init__()
        self.trunk = cast(Trunk | PyramidTrunk, trunk)
        self.rpn = cast(RegionProposalNetwork, rpn)
        self.roi_head = cast(RoIHead, roi_head)
        self.preset = preset
        self.num_classes = self.roi_head.num_classes
        self.feature_width = self.roi_head.feature_width
        self.union_channels = self.roi_head.union_channels

    def feature_maps(self, frames: UInt8[Tensor, "T C H W"]) -> FeatureMaps:
        """One pass of the trunk; serves boxes and unions."""
        ready = preprocess(frames, self.preset.pixels)
        levels = tuple(level.float().contiguous() for level in self.trunk(ready.images))
        return FeatureMaps(levels, ready.scale, ready.frame_size, ready.size, ready.padded_size)

    def detect(self, frames: UInt8[Tensor, "T C H W"]) -> tuple[list[Detections], FeatureMaps]:
        """Find the objects of frames of one size.

        Args:
            frames: RGB; grey (C = 1) is repeated, an alpha channel (C = 4) is dropped.

        Returns:
            Detections per frame, features of the *proposal* each box came from; and the maps.
        """
        maps = self.feature_maps(frames)
        if not len(frames):
            return [], maps
        proposals = self.rpn(maps.levels, maps.padded_size, [maps.size] * len(frames))
        features = self.roi_head.features(self.roi_head.pool(maps.levels, proposals))
        parts = features.split([len(p) for p in proposals])
        return [self._detections(p, f, maps) for p, f in zip(proposals, parts, strict=True)], maps

    def _detections(self, proposals: Tensor, features: Tensor, maps: FeatureMaps) -> Detections:
        logits = self.roi_head.cls_score(features)
        boxes, labels, scores, rows = select_boxes(
            proposals,
            logits,
            self.roi_head.bbox_pred(features),
            preset=self.preset,
            scale=maps.scale,
            size=maps.size,
            frame_size=maps.frame_size,
        )
        distribution = logits[rows, 1:].softmax(1)
        return Detections(
            boxes, labels - 1, scores, distribution, features[rows], maps.frame_size, "proposal"
        )

    def describe(
        self,
        frames: UInt8[Tensor, "T C H W"],
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

        Raises:
            ValueError: if there are not as many lists of boxes and labels as frames, or a box is
                inverted or not finite.
        """
        for what, given in (("boxes", boxes), ("labels", labels)):
            _check_count(what, given, len(frames))
        maps = self.feature_maps(frames)
        boxes = [_inside(b, maps.frame_size) for b in boxes]
        for box in boxes:
            check_boxes(box, *maps.frame_size)
        pooled = self.roi_head.pool(maps.levels, [maps.to_network(b) for b in boxes])
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
        """Pool union boxes (frame pixels) from maps that are there already.

        Raises:
            ValueError: if there are not as many lists of boxes as frames, or a box is inverted, not
                finite or outside its frame.
        """
        _check_count("union_boxes", union_boxes, len(maps.levels[0]))
        for box in union_boxes:
            check_boxes(box, *maps.frame_size)
        boxes = [maps.to_network(b) for b in union_boxes]
        pooled = self.roi_head.pool_unions(maps.levels, boxes)
        return list(pooled.split([len(b) for b in union_boxes]))


def _check_count(what: str, given: list[Tensor], num_frames: int) -> None:
    if len(given) != num_frames:
        raise ValueError(f"{what}: one for each of {num_frames} frames expected, got {len(given)}")


def _inside(boxes: Tensor, frame_size: tuple[int, int]) -> Tensor:
    limit = boxes.new_tensor([frame_size[1], frame_size[0]] * 2)
    return boxes.clamp(min=0).minimum(limit)
