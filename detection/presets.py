"""The conventions in which detector families differ, as data.

Getting one wrong moves features by up to 8 % without an error, so they travel together. Sources:
jwyang/faster-rcnn.pytorch and yrcong/STTran, facebookresearch/detectron2 (COCO-Detection configs),
torchvision (`models.detection`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

#: exp() of a size delta is not let beyond this (1000 / 16), where a family clamps it.
LOG_MAX_RATIO = math.log(1000 / 16)
#: Beyond this a frame would not fit into any memory.
MAX_SHORT_SIDE = 8192


@dataclass(frozen=True)
class Pixels:
    """From a decoded frame to the network's input.

    Attributes:
        mean, std: in `order`, on values 0-255.
        order: of the channels.
        resize: `cv2` is bilinear on normalised floats with a factor, without antialiasing; `pil`
            is antialiased on uint8, normalised afterwards; `torchvision` is bilinear on normalised
            floats, sizes rounded down.
        short_side, long_side: frames are scaled until the short side has so many pixels, less if
            the long side would pass its limit.
        divisor: the input is padded with zeros at the right and bottom to a multiple of it.
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
    """Of the region proposal network.

    Attributes:
        style: rounding, order and centre: `caffe`, `detectron2` or `torchvision`.
        sizes: per level, square roots of the areas, network pixels.
        ratios: height / width.
        strides: per level, network pixels per cell.
        is_stride_measured: cells are input size // map size apart (torchvision), not `strides`.
    """

    style: Literal["caffe", "detectron2", "torchvision"]
    sizes: tuple[tuple[float, ...], ...]
    ratios: tuple[float, ...]
    strides: tuple[int, ...]
    is_stride_measured: bool = False


@dataclass(frozen=True)
class Proposals:
    """From anchors to proposals.

    Attributes:
        pre_nms: best anchors of each level that enter the suppression.
        post_nms: proposals per frame.
        iou: of the suppression.
        min_size: shorter sides are dropped, network pixels; 0 drops empty ones, None none.
    """

    pre_nms: int
    post_nms: int
    iou: float
    min_size: float | None


@dataclass(frozen=True)
class Pooling:
    """RoIAlign.

    Attributes:
        size: side of a pooled box.
        sampling_ratio: points per bin and axis; 0 is adaptive.
        aligned: shift by half a pixel.
        level_epsilon: level = floor(4 + log2(sqrt(area) / 224 + first) + second), FPN alone.
    """

    size: int
    sampling_ratio: int
    aligned: bool
    level_epsilon: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Selection:
    """From scored proposals to the boxes of a frame.

    Attributes:
        score_threshold: a class counts where its probability is higher.
        nms_threshold: IoU above which the weaker box of a class goes.
        max_boxes: most boxes kept, best scores first.
        one_person: only the best person stays.
        by_class: results are ordered by class, then by falling score; else by falling score alone.
        in_frame_pixels: suppression happens after boxes are scaled back.
        min_size: shorter sides are dropped before suppression, network pixels, or None.
        drop_empty: boxes without area are dropped at the end.
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
        name: its key in `PRESETS`.
        network: `c4` pools stride 16 maps and runs stage 4 on boxes; `fpn` pools a pyramid.
        stride_on_conv1: a stage's stride sits on its first 1x1 convolution (caffe), not the 3x3.
        stem_padding: of the 3x3 stride-2 max-pool; 0 goes with ceil mode.
        rpn_hidden: channels of the RPN's convolution, relative to its input.
        pixel_offset: 1 where a box's width is x2 - x1 + 1, else 0.
        max_delta: bound of size deltas; infinity where the family has none.
        box_stds: the box deltas are multiplied by these.
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

#: jwyang/faster-rcnn.pytorch and STTran: `faster_rcnn_ag.pth`. The original has no limit for the
#: long side; ours is reached beyond an aspect ratio of 4, where memory has no limit otherwise.
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
    """A preset with some numbers replaced; None keeps the family's.

    The long side's limit follows `short_side` in proportion. `anchor_scale` multiplies the
    anchors' sizes (and in an FPN the box sizes at which levels change, see `RoIHead`), for networks
    that see smaller images.
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
    """Anchors per cell, by level."""
    return [len(level) * len(preset.anchors.ratios) for level in preset.anchors.sizes]
