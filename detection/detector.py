"""Faster R-CNN detector that returns boxes with their features."""

from collections.abc import Sequence
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
    """Feature maps of T frames of the same size.

    Attributes:
        levels: (T, Cu, h, w) float32 feature map of each level. A C4 network has one level.
        scale: (x, y) network pixels per frame pixel.
        frame_size: (height, width) of the decoded frames.
        size: (height, width) of the network input without padding.
        padded_size: (height, width) of the network input with padding.
    """

    levels: tuple[Tensor, ...]
    scale: tuple[float, float]
    frame_size: tuple[int, int]
    size: tuple[int, int]
    padded_size: tuple[int, int]

    def to_network(self, boxes: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
        """Convert boxes from frame pixels to network pixels."""
        return boxes * boxes.new_tensor([*self.scale, *self.scale])


class Detector(nn.Module):
    """Faster R-CNN that consists of a backbone, a region proposal network and a box head.

    The detector must be in eval mode for inference.

    Attributes:
        trunk: backbone, which is a `Trunk`, a `PyramidTrunk`, or a module with the same interface
            (see `detectron2_parts`).
        rpn: `RegionProposalNetwork`, or a module with the same interface.
        roi_head: `RoIHead`, or a module with the same interface.
        preset: conventions of the checkpoint family.
        num_classes: number of object classes O, without background.
        columns: with `map_classes`, the class of the vocabulary of each class of the network.
        feature_width: width F of the box features.
        union_channels: channels Cu of the union features.
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
        self.columns: tuple[int, ...] | None = None
        self.feature_width = self.roi_head.feature_width
        self.union_channels = self.roi_head.union_channels

    def map_classes(self, columns: Sequence[int], num_classes: int) -> None:
        """Return the classes of another vocabulary from now on.

        Boxes of classes that the vocabulary does not contain are dropped. The probability of a
        class of the vocabulary is the sum over its classes of the network.

        Args:
            columns: class of the vocabulary of each class of the network, or -1.
            num_classes: number of classes of the vocabulary.

        Raises:
            ValueError: if `columns` does not have one entry per class of the network.
        """
        if len(columns) != self.roi_head.num_classes:
            raise ValueError(
                f"columns: {self.roi_head.num_classes} entries expected, got {len(columns)}"
            )
        self.columns, self.num_classes = tuple(columns), num_classes

    def _mapped(self, distribution: Tensor) -> Tensor:
        """Return the (N, O) probabilities of the vocabulary's classes."""
        if self.columns is None:
            return distribution
        columns = torch.tensor(self.columns, device=distribution.device)
        known = columns >= 0
        mapped = distribution.new_zeros(len(distribution), self.num_classes)
        return mapped.index_add(1, columns[known], distribution[:, known])

    def feature_maps(self, frames: UInt8[Tensor, "T C H W"]) -> FeatureMaps:
        """Compute the feature maps of frames in one pass of the backbone.

        The features of boxes and of union boxes are pooled from the same maps.

        Args:
            frames: (T, C, H, W) uint8, see `detect`.

        Raises:
            ValueError: if C is not 1, 3 or 4, or H or W is 0.
        """
        ready = preprocess(frames, self.preset.pixels)
        levels = tuple(level.float().contiguous() for level in self.trunk(ready.images))
        return FeatureMaps(levels, ready.scale, ready.frame_size, ready.size, ready.padded_size)

    def detect(self, frames: UInt8[Tensor, "T C H W"]) -> tuple[list[Detections], FeatureMaps]:
        """Detect the objects in frames.

        Args:
            frames: (T, C, H, W) uint8 RGB. Grey frames (C = 1) are repeated to three channels. An
                alpha channel (C = 4) is dropped.

        Returns:
            A tuple of the detections of each frame and the feature maps. Box features are pooled
            from the *proposal* of each box.

        Raises:
            ValueError: if C is not 1, 3 or 4, or H or W is 0.
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
        distribution, labels = self._mapped(logits[rows, 1:].softmax(1)), labels - 1
        if self.columns is not None:
            labels = torch.tensor(self.columns, device=labels.device)[labels]
            kept = labels >= 0
            boxes, scores, rows = boxes[kept], scores[kept], rows[kept]
            labels, distribution = labels[kept], distribution[kept]
        return Detections(
            boxes, labels, scores, distribution, features[rows], maps.frame_size, "proposal"
        )

    def describe(
        self,
        frames: UInt8[Tensor, "T C H W"],
        boxes: list[Float[Tensor, "_ 4"]],
        labels: list[Int64[Tensor, "_"]],
    ) -> tuple[list[Detections], FeatureMaps]:
        """Compute the features of provided boxes, without running the region proposal network.

        Args:
            frames: (T, C, H, W) uint8, see `detect`.
            boxes: (N, 4) float32 boxes of each frame, xyxy in frame pixels. They are clipped to
                the frame.
            labels: (N,) int64 object classes of the boxes of each frame.

        Returns:
            A tuple of the detections of each frame, with score 1, and the feature maps. Box
            features are pooled from the *box* itself.

        Raises:
            ValueError: if the frames have an invalid shape, `boxes` or `labels` does not have one
                tensor per frame, or a box is inverted or not finite.
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
                self._mapped(self.roi_head.cls_score(feature)[:, 1:].softmax(1)),
                feature,
                maps.frame_size,
                "box",
            )
            for box, label, feature in zip(boxes, labels, parts, strict=True)
        ], maps

    def pool_union(
        self, maps: FeatureMaps, union_boxes: list[Float[Tensor, "_ 4"]]
    ) -> list[Float[Tensor, "_ Cu S S"]]:
        """Pool the features of union boxes from existing feature maps.

        Args:
            maps: feature maps of T frames.
            union_boxes: (N, 4) float32 union boxes of each frame, xyxy in frame pixels.

        Returns:
            (N, Cu, 7, 7) float32 union features of each frame.

        Raises:
            ValueError: if `union_boxes` does not have one tensor per frame, or a box is inverted,
                not finite or outside the frame.
        """
        _check_count("union_boxes", union_boxes, len(maps.levels[0]))
        for box in union_boxes:
            check_boxes(box, *maps.frame_size)
        boxes = [maps.to_network(b) for b in union_boxes]
        pooled = self.roi_head.pool_unions(maps.levels, boxes)
        return list(pooled.split([len(b) for b in union_boxes]))


def _check_count(what: str, given: list[Tensor], num_frames: int) -> None:
    if len(given) != num_frames:
        raise ValueError(f"{what}: {num_frames} tensors expected (one per frame), got {len(given)}")


def _inside(boxes: Tensor, frame_size: tuple[int, int]) -> Tensor:
    limit = boxes.new_tensor([frame_size[1], frame_size[0]] * 2)
    return boxes.clamp(min=0).minimum(limit)
