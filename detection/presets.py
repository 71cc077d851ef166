"""Conventions in which the checkpoint families of Faster R-CNN differ.

A wrong convention changes features by up to 8 % without raising an error. A `Preset` therefore
contains all conventions of a family. Sources: jwyang/faster-rcnn.pytorch and yrcong/STTran,
facebookresearch/detectron2 (COCO-Detection configs), torchvision (`models.detection`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

#: Upper bound of the size deltas dw and dh in families that clamp them.
LOG_MAX_RATIO = math.log(1000 / 16)
#: Largest accepted short side. Larger frames do not fit into memory.
MAX_SHORT_SIDE = 8192


@dataclass(frozen=True)
class Pixels:
    """Conventions for the conversion of a decoded frame to network input.

    Attributes:
        mean: mean of each channel in `order`, for pixel values from 0 to 255.
        std: standard deviation of each channel in `order`, for pixel values from 0 to 255.
        order: order of the channels.
        resize: method of resizing, always bilinear. `cv2` resizes normalised images by a factor,
            without antialiasing. `pil` resizes uint8 images with antialiasing, before
            normalisation. `torchvision` resizes normalised images to sizes that are rounded down.
        short_side: length in pixels to which the short side is scaled.
        long_side: maximum length of the long side in pixels. It takes precedence over `short_side`.
        divisor: divisor of the padded height and width. Images are padded with zeros at the right
            and bottom.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    order: Literal["bgr", "rgb"]
    resize: Literal["cv2", "pil", "torchvision"]
    short_side: int
    long_side: int
    divisor: int


@dataclass(frozen=True)
class Anchors:
    """Anchors of the region proposal network.

    Attributes:
        style: rounding, order and centre of the anchors, see `detection.anchors.cell_anchors`.
        sizes: square roots of the anchor areas of each level, in network pixels.
        ratios: ratios height / width.
        strides: network pixels per cell, of each level.
        is_stride_measured: if True, strides are computed as input size // map size, as in
            torchvision, and `strides` is not used.
    """

    style: Literal["caffe", "detectron2", "torchvision"]
    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    strides: tuple[int, ...]
    is_stride_measured: bool = False


@dataclass(frozen=True)
class Proposals:
    """Selection of proposals from scored anchors.

    Attributes:
        pre_nms: maximum number of anchors per level before NMS. The anchors with the highest scores
            are kept.
        post_nms: maximum number of proposals per frame after NMS.
        iou: IoU threshold of NMS.
        min_size: minimum side of a proposal in network pixels. If 0, only empty proposals are
            dropped. If None, all proposals are kept.
    """

    pre_nms: int
    post_nms: int
    iou: float
    min_size: float | None


@dataclass(frozen=True)
class Pooling:
    """Settings of RoIAlign.

    Attributes:
        size: number of bins along each side of a pooled box.
        sampling_ratio: number of sampling points per bin and axis. If 0, the number is adaptive.
        aligned: if True, boxes are shifted by half a pixel.
        level_epsilon: first and second epsilon in the formula of the FPN level of a box,
            floor(4 + log2(sqrt(area) / 224 + first) + second).
    """

    size: int
    sampling_ratio: int
    aligned: bool
    level_epsilon: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Selection:
    """Selection of the boxes of a frame from scored proposals.

    Attributes:
        score_threshold: probability threshold. A box is kept if the probability of its class is
            higher.
        nms_threshold: IoU above which NMS removes the box with the lower score, per class.
        max_boxes: maximum number of boxes per frame. The boxes with the highest scores are kept.
        one_person: if True, only the person box with the highest score is kept.
        by_class: if True, boxes are sorted by class, then by descending score. If False, they are
            sorted by descending score.
        in_frame_pixels: if True, NMS is applied to boxes in frame pixels instead of network pixels.
        min_size: minimum side of a box in network pixels, applied before NMS. If None, all boxes
            are kept.
        drop_empty: if True, boxes without area are removed after NMS.
    """

    score_threshold: float
    nms_threshold: float
    max_boxes: int
    one_person: bool
    by_class: bool
    in_frame_pixels: bool
    min_size: float | None
    drop_empty: bool


@dataclass(frozen=True)
class Preset:
    """Conventions of a family of Faster R-CNN checkpoints.

    Attributes:
        name: key in `PRESETS`.
        network: type of the network. `c4` pools a map of stride 16 and runs stage 4 on the pooled
            boxes. `fpn` pools a feature pyramid.
        pixels: conversion of frames to network input.
        anchors: anchors of the region proposal network.
        proposals: selection of proposals.
        pooling: settings of RoIAlign.
        selection: selection of the boxes of a frame.
        stride_on_conv1: if True, the stride of a stage belongs to its first 1x1 convolution, as in
            Caffe. If False, it belongs to the first 3x3 convolution.
        stem_padding: padding of the 3x3 max-pool of the stem. 0 enables ceil mode.
        rpn_hidden: number of channels of the RPN's 3x3 convolution, relative to its number of input
            channels.
        pixel_offset: 1 if the width of a box is x2 - x1 + 1, else 0.
        max_delta: upper bound of the size deltas, or infinity if the family does not clamp them.
        box_stds: standard deviations by which the deltas of the box head are multiplied.
    """

    name: str
    network: Literal["c4", "fpn"]
    pixels: Pixels
    anchors: Anchors
    proposals: Proposals
    pooling: Pooling
    selection: Selection
    stride_on_conv1: bool
    stem_padding: int
    rpn_hidden: float = 1.0
    pixel_offset: float = 0.0
    max_delta: float = LOG_MAX_RATIO
    box_stds: tuple[float, float, float, float] = (0.1, 0.1, 0.2, 0.2)


_RATIOS = (0.5, 1.0, 2.0)
_PYRAMID = ((32.0,), (64.0,), (128.0,), (256.0,), (512.0,))
_STRIDES = (4, 8, 16, 32, 64)
_DETECTRON2 = Pixels((103.53, 116.28, 123.675), (1.0, 1.0, 1.0), "bgr", "pil", 800, 1333, 1)
_STANDARD = Selection(0.05, 0.5, 100, False, False, False, None, True)

#: jwyang/faster-rcnn.pytorch and STTran, `faster_rcnn_ag.pth`. These projects do not limit the long
#: side. The limit of this preset applies to aspect ratios above 4 and bounds the memory use.
ACTION_GENOME = Preset(
    name="action-genome",
    network="c4",
    pixels=Pixels((102.9801, 115.9465, 122.7717), (1.0, 1.0, 1.0), "bgr", "cv2", 600, 2400, 1),
    anchors=Anchors("caffe", ((64.0, 128.0, 256.0, 512.0),), _RATIOS, (16,)),
    proposals=Proposals(6000, 100, 0.7, None),
    pooling=Pooling(7, 0, aligned=False),
    selection=Selection(0.1, 0.4, 64, True, True, True, None, False),
    stride_on_conv1=True,
    stem_padding=0,
    rpn_hidden=0.5,
    pixel_offset=1.0,
    max_delta=math.inf,
)

#: detectron2 `faster_rcnn_R_101_C4_3x.yaml`.
DETECTRON2_C4 = Preset(
    name="detectron2-c4",
    network="c4",
    pixels=_DETECTRON2,
    anchors=Anchors("detectron2", ((32.0, 64.0, 128.0, 256.0, 512.0),), _RATIOS, (16,)),
    proposals=Proposals(6000, 1000, 0.7, 0.0),
    pooling=Pooling(14, 0, aligned=True),
    selection=_STANDARD,
    stride_on_conv1=True,
    stem_padding=1,
)

#: detectron2 `faster_rcnn_R_101_FPN_3x.yaml`.
DETECTRON2_FPN = Preset(
    name="detectron2-fpn",
    network="fpn",
    pixels=replace(_DETECTRON2, divisor=32),
    anchors=Anchors("detectron2", _PYRAMID, _RATIOS, _STRIDES),
    proposals=Proposals(1000, 1000, 0.7, 0.0),
    pooling=Pooling(7, 0, aligned=True, level_epsilon=(1e-8, 0.0)),
    selection=_STANDARD,
    stride_on_conv1=True,
    stem_padding=1,
)

#: torchvision `FasterRCNN(resnet_fpn_backbone(...))`.
TORCHVISION_FPN = Preset(
    name="torchvision-fpn",
    network="fpn",
    pixels=Pixels(
        (0.485 * 255, 0.456 * 255, 0.406 * 255),
        (0.229 * 255, 0.224 * 255, 0.225 * 255),
        "rgb",
        "torchvision",
        800,
        1333,
        32,
    ),
    anchors=Anchors("torchvision", _PYRAMID, _RATIOS, _STRIDES, is_stride_measured=True),
    proposals=Proposals(1000, 1000, 0.7, 1e-3),
    pooling=Pooling(7, 2, aligned=False, level_epsilon=(0.0, 1e-6)),
    selection=replace(_STANDARD, min_size=1e-2, drop_empty=False),
    stride_on_conv1=False,
    stem_padding=1,
)

PRESETS = {
    preset.name: preset
    for preset in (ACTION_GENOME, DETECTRON2_C4, DETECTRON2_FPN, TORCHVISION_FPN)
}


def adapt(
    preset: Preset,
    *,
    short_side: int | None = None,
    proposals: int | None = None,
    score_threshold: float | None = None,
    nms_threshold: float | None = None,
    max_boxes: int | None = None,
    anchor_scale: float = 1.0,
) -> Preset:
    """Return a preset with some values replaced.

    If an argument is None, the value of the preset is kept.

    Args:
        preset: preset to change.
        short_side: short side of the network input in pixels. The limit of the long side is scaled
            in proportion.
        proposals: maximum number of proposals per frame.
        score_threshold: see `Selection`.
        nms_threshold: see `Selection`.
        max_boxes: see `Selection`.
        anchor_scale: factor of the anchor sizes. Use a value below 1 for smaller input images.
            `RoIHead` has an argument of the same name for the box sizes at which FPN levels change.
    """
    pixels = preset.pixels
    if short_side is not None:
        long_side = math.ceil(pixels.long_side * short_side / pixels.short_side)
        pixels = replace(pixels, short_side=short_side, long_side=long_side)
    sizes = tuple(tuple(size * anchor_scale for size in level) for level in preset.anchors.sizes)
    thresholds: dict[str, Any] = {
        "score_threshold": score_threshold,
        "nms_threshold": nms_threshold,
        "max_boxes": max_boxes,
    }
    given = {name: value for name, value in thresholds.items() if value is not None}
    post_nms = preset.proposals.post_nms if proposals is None else proposals
    return replace(
        preset,
        pixels=pixels,
        anchors=replace(preset.anchors, sizes=sizes),
        proposals=replace(preset.proposals, post_nms=post_nms),
        selection=replace(preset.selection, **given),
    )


def count_anchors(preset: Preset) -> Sequence[int]:
    """Return the number of anchors per cell, by level."""
    return [len(level) * len(preset.anchors.ratios) for level in preset.anchors.sizes]
