"""Adapter that runs a detectron2 model as a `Detector`.

The stages of the model run separately, so that box features are available. detectron2 is an
optional dependency and is imported only when it is used.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from detection.detector import Detector
from detection.presets import DETECTRON2_FPN, Pixels, Preset, Proposals, Selection
from detection.roi_heads import UNION_SIZE


def detector_from_detectron2(model: Any, config: Any) -> Detector:
    """Wrap a detectron2 `GeneralizedRCNN` in a `Detector`.

    Args:
        model: model with an `RPN`, and with `Res5ROIHeads` or single-stage `StandardROIHeads`.
        config: `CfgNode` from which the model was built.

    Returns:
        Detector in eval mode. It shares the weights of the model. Its parameters keep their names
        in detectron2.

    Raises:
        ValueError: if the heads have another type, such as cascades or heads for rotated boxes.
    """
    heads = model.roi_heads
    kind = type(heads).__name__
    if kind not in ("Res5ROIHeads", "StandardROIHeads"):
        raise ValueError(
            f"ROI_HEADS.NAME: Res5ROIHeads or StandardROIHeads expected, got {kind}; cascades and "
            "rotated boxes are not supported"
        )
    names = _level_names(model, heads)
    return Detector(
        _Trunk(model.backbone, names),
        _Proposer(model.proposal_generator, names),
        _Heads(heads, config, names),
        preset=_preset(config, model),
    ).eval()


def _level_names(model: Any, heads: Any) -> list[str]:
    """Return the names of the RPN's input maps, then of the maps that only the heads use."""
    names = list(model.proposal_generator.in_features)
    own = heads.in_features if hasattr(heads, "res5") else heads.box_in_features
    return names + [name for name in own if name not in names]


def _preset(config: Any, model: Any) -> Preset:
    means, stds = config.MODEL.PIXEL_MEAN, config.MODEL.PIXEL_STD
    heads, rpn = config.MODEL.ROI_HEADS, config.MODEL.RPN
    weights = config.MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS
    return replace(
        DETECTRON2_FPN,
        name="detectron2",
        pixels=Pixels(
            (float(means[0]), float(means[1]), float(means[2])),
            (float(stds[0]), float(stds[1]), float(stds[2])),
            "bgr" if config.INPUT.FORMAT == "BGR" else "rgb",
            "pil",
            config.INPUT.MIN_SIZE_TEST,
            config.INPUT.MAX_SIZE_TEST,
            max(model.backbone.size_divisibility, 1),
        ),
        proposals=Proposals(
            rpn.PRE_NMS_TOPK_TEST, rpn.POST_NMS_TOPK_TEST, rpn.NMS_THRESH, min_size=0.0
        ),
        selection=Selection(
            score_threshold=heads.SCORE_THRESH_TEST,
            nms_threshold=heads.NMS_THRESH_TEST,
            max_boxes=config.TEST.DETECTIONS_PER_IMAGE,
            one_person=False,
            by_class=False,
            in_frame_pixels=False,
            min_size=None,
            drop_empty=True,
        ),
        box_stds=(1 / weights[0], 1 / weights[1], 1 / weights[2], 1 / weights[3]),
    )


class _Trunk(nn.Module):
    def __init__(self, backbone: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.backbone, self.names = backbone, list(names)

    def forward(self, images: Float[Tensor, "T 3 h w"]) -> tuple[Tensor, ...]:
        maps = self.backbone(images)
        return tuple(maps[name] for name in self.names)


class _Proposer(nn.Module):
    def __init__(self, generator: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.generator, self.names = generator, list(names)

    def forward(
        self, maps: Sequence[Tensor], padded_size: tuple[int, int], sizes: Sequence[tuple[int, int]]
    ) -> list[Float[Tensor, "_ 4"]]:
        from detectron2.structures import ImageList

        images = ImageList(maps[0].new_zeros((len(sizes), 3, *padded_size)), list(sizes))
        found, _ = self.generator(images, dict(zip(self.names, maps, strict=True)), None)
        return [one.proposal_boxes.tensor for one in found]


class _Heads(nn.Module):
    """Heads of detectron2 with the interface of `RoIHead`, where background is class 0."""

    def __init__(self, heads: Any, config: Any, names: Sequence[str]) -> None:
        super().__init__()
        from detectron2.modeling.poolers import ROIPooler

        self.heads = heads
        self.has_res5 = hasattr(heads, "res5")
        own = heads.in_features if self.has_res5 else heads.box_in_features
        self.rows = [list(names).index(name) for name in own]
        self.pooler = heads.pooler if self.has_res5 else heads.box_pooler
        rules = config.MODEL.ROI_BOX_HEAD
        scales = [level.spatial_scale for level in self.pooler.level_poolers]
        self.union_pooler = ROIPooler(
            UNION_SIZE, scales, rules.POOLER_SAMPLING_RATIO, rules.POOLER_TYPE
        )
        self.feature_width = heads.box_predictor.cls_score.in_features
        self.num_classes = heads.num_classes
        self.union_channels = self._channels(config, heads)

    def _channels(self, config: Any, heads: Any) -> int:
        if self.has_res5:
            return int(heads.res5[0].conv1.in_channels)
        shape = getattr(heads.box_head, "input_shape", None)
        if shape is not None and shape.channels is not None:
            return int(shape.channels)
        first = next(iter(heads.box_head.parameters()))
        size = config.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION
        return int(first.shape[1] if first.ndim == 4 else first.shape[1] // size**2)

    def pool(
        self, maps: Sequence[Tensor], boxes: Sequence[Float[Tensor, "_ 4"]]
    ) -> Float[Tensor, "N Cu S S"]:
        return self._pool(self.pooler, maps, boxes)

    def pool_unions(
        self, maps: Sequence[Tensor], boxes: Sequence[Float[Tensor, "_ 4"]]
    ) -> Float[Tensor, "N Cu 7 7"]:
        return self._pool(self.union_pooler, maps, boxes)

    def _pool(self, pooler: Any, maps: Sequence[Tensor], boxes: Sequence[Tensor]) -> Tensor:
        from detectron2.structures import Boxes

        out: Tensor = pooler([maps[row] for row in self.rows], [Boxes(b) for b in boxes])
        return out.float()

    def features(self, pooled: Float[Tensor, "N Cu S S"]) -> Float[Tensor, "N F"]:
        if not len(pooled):
            return pooled.new_zeros(0, self.feature_width)
        maps: Tensor = (self.heads.res5 if self.has_res5 else self.heads.box_head)(pooled)
        return maps.mean(dim=[2, 3]) if self.has_res5 else maps.flatten(1)

    def cls_score(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N L"]:
        logits: Tensor = self.heads.box_predictor.cls_score(features)
        return logits.roll(1, 1)

    def bbox_pred(self, features: Float[Tensor, "N F"]) -> Float[Tensor, "N L4"]:
        deltas: Tensor = self.heads.box_predictor.bbox_pred(features)
        if deltas.shape[1] == 4:  # one class-agnostic regressor
            deltas = deltas.repeat(1, self.num_classes)
        return torch.cat([deltas.new_zeros(len(deltas), 4), deltas], 1)
