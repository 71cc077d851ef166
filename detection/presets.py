"""The conventions in which detector families differ, as data.

Each is named in `Preset`; getting one wrong moves features by up to 8 %, so they travel together.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Preset:
    """Conventions of a family of Faster R-CNN C4 checkpoints.

    Attributes:
        pixel_mean: subtracted from 0-255 values, in `channel_order`; nothing is divided.
        channel_order: `bgr` or `rgb`.
        stride_on_conv1: a stage's stride sits on its first 1x1 convolution (caffe), not the 3x3.
        stem_padding: of the 3x3 stride-2 max-pool; 0 goes with ceil mode.
        anchor_base, anchor_ratios, anchor_scales: of the RPN; ratio-major, rounded.
        stride: of the C4 map, pixels.
        pixel_offset: 1 where a box's width is x2 - x1 + 1, else 0.
        pre_nms, rpn_nms: proposals before suppression, and its IoU.
        box_stds: the box deltas are multiplied by these.
        pool_size: side of a pooled region.
    """

    pixel_mean: tuple[float, float, float]
    channel_order: str
    stride_on_conv1: bool
    stem_padding: int
    anchor_base: int
    anchor_ratios: tuple[float, ...]
    anchor_scales: tuple[float, ...]
    stride: int
    pixel_offset: float
    pre_nms: int
    rpn_nms: float
    box_stds: tuple[float, float, float, float]
    pool_size: int


#: jwyang/faster-rcnn.pytorch and STTran: `faster_rcnn_ag.pth`.
ACTION_GENOME = Preset(
    pixel_mean=(102.9801, 115.9465, 122.7717),
    channel_order="bgr",
    stride_on_conv1=True,
    stem_padding=0,
    anchor_base=16,
    anchor_ratios=(0.5, 1.0, 2.0),
    anchor_scales=(4.0, 8.0, 16.0, 32.0),
    stride=16,
    pixel_offset=1.0,
    pre_nms=6000,
    rpn_nms=0.7,
    box_stds=(0.1, 0.1, 0.2, 0.2),
    pool_size=7,
)

PRESETS = {"action-genome": ACTION_GENOME}
