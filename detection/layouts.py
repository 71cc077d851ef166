"""Conversion of state dicts of other Faster R-CNN projects to the names and order of `Detector`.

In a `Detector`, background is class 0 of both output layers. Each anchor has one objectness logit.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detection.build import NetworkSize
from detection.resnet import STAGES

State = dict[str, Tensor]
_Rules = Sequence[tuple[str, str]]

_JWYANG: _Rules = (
    (r"RCNN_base\.0\.", "trunk.conv1."),
    (r"RCNN_base\.1\.", "trunk.bn1."),
    (r"RCNN_base\.4\.", "trunk.layer1."),
    (r"RCNN_base\.5\.", "trunk.layer2."),
    (r"RCNN_base\.6\.", "trunk.layer3."),
    (r"RCNN_top\.0\.", "roi_head.body.layer4."),
    (r"RCNN_rpn\.RPN_Conv\.", "rpn.conv."),
    (r"RCNN_rpn\.RPN_cls_score\.", "rpn.cls_score."),
    (r"RCNN_rpn\.RPN_bbox_pred\.", "rpn.bbox_pred."),
    (r"RCNN_cls_score\.", "roi_head.cls_score."),
    (r"RCNN_bbox_pred\.", "roi_head.bbox_pred."),
)
_DETECTRON2_HEADS: _Rules = (
    (r"proposal_generator\.rpn_head\.conv\.", "rpn.conv."),
    (r"proposal_generator\.rpn_head\.objectness_logits\.", "rpn.cls_score."),
    (r"proposal_generator\.rpn_head\.anchor_deltas\.", "rpn.bbox_pred."),
    (r"roi_heads\.box_predictor\.", "roi_head."),
)
_DETECTRON2_C4: _Rules = (
    (r"backbone\.stem\.", "trunk."),
    (r"backbone\.res2\.", "trunk.layer1."),
    (r"backbone\.res3\.", "trunk.layer2."),
    (r"backbone\.res4\.", "trunk.layer3."),
    (r"roi_heads\.res5\.", "roi_head.body.layer4."),
    *_DETECTRON2_HEADS,
)
_DETECTRON2_FPN: _Rules = (
    (r"backbone\.bottom_up\.stem\.", "trunk.body."),
    *((rf"backbone\.bottom_up\.res{i}\.", f"trunk.body.layer{i - 1}.") for i in range(2, 6)),
    *((rf"backbone\.fpn_lateral{i}\.", f"trunk.fpn.inner_blocks.{i - 2}.0.") for i in range(2, 6)),
    *((rf"backbone\.fpn_output{i}\.", f"trunk.fpn.layer_blocks.{i - 2}.0.") for i in range(2, 6)),
    (r"roi_heads\.box_head\.", "roi_head.body."),
    *_DETECTRON2_HEADS,
)
#: Names within a bottleneck of detectron2, where each convolution contains its norm.
_DETECTRON2_BLOCKS: _Rules = (
    (r"\bshortcut\.norm\.", "downsample.1."),
    (r"\bshortcut\.", "downsample.0."),
    (r"\bconv(\d)\.norm\.", r"bn\1."),
)
_TORCHVISION_FPN: _Rules = (
    (r"backbone\.body\.", "trunk.body."),
    (r"backbone\.fpn\.(inner|layer)_blocks\.(\d)\.(0\.)?", r"trunk.fpn.\1_blocks.\2.0."),
    (r"rpn\.head\.conv\.(0\.0\.)?", "rpn.conv."),
    (r"rpn\.head\.cls_logits\.", "rpn.cls_score."),
    (r"rpn\.head\.bbox_pred\.", "rpn.bbox_pred."),
    (r"roi_heads\.box_head\.fc6\.", "roi_head.body.fc1."),
    (r"roi_heads\.box_head\.fc7\.", "roi_head.body.fc2."),
    (r"roi_heads\.box_predictor\.", "roi_head."),
)
#: Constants that some files contain in addition to the weights. The presets define them instead.
_CONSTANTS = re.compile(r"pixel_(mean|std)|proposal_generator\.anchor_generator\.cell_anchors\.\d")


@dataclass(frozen=True)
class Layout:
    """Tensor names of a checkpoint family.

    Attributes:
        preset: key in `PRESETS` of the conventions of the weights.
        mark: tensor name that occurs only in this layout.
        convert: function that converts a state dict to the names and order of `Detector`.
    """

    preset: str
    mark: str
    convert: Callable[[Mapping[str, Tensor]], State]


def from_jwyang(state: Mapping[str, Tensor]) -> State:
    """Convert a state dict of jwyang/faster-rcnn.pytorch with a ResNet.

    `faster_rcnn_ag.pth` has this layout, under the key `model`. The RPN has two outputs per anchor,
    [background x A, object x A]. These outputs are converted to the difference object - background.

    Raises:
        ValueError: if a tensor name does not belong to this layout.
    """
    renamed = _rename(state, (_JWYANG,), "jwyang's Faster R-CNN (RCNN_base....)")
    for name in ("rpn.cls_score.weight", "rpn.cls_score.bias"):
        if name in renamed and len(renamed[name]) % 2 == 0:
            background, foreground = renamed[name].chunk(2)
            renamed[name] = foreground - background
    return renamed


def from_detectron2_c4(state: Mapping[str, Tensor]) -> State:
    """Convert a state dict of a detectron2 ResNet C4 with `Res5ROIHeads`.

    Raises:
        ValueError: if a tensor name does not belong to this layout.
    """
    rules = (_DETECTRON2_C4, _DETECTRON2_BLOCKS)
    return _background_first(_rename(state, rules, "detectron2's R-CNN C4"))


def from_detectron2_fpn(state: Mapping[str, Tensor]) -> State:
    """Convert a state dict of a detectron2 ResNet FPN whose box head has two linear layers.

    Raises:
        ValueError: if a tensor name does not belong to this layout.
    """
    rules = (_DETECTRON2_FPN, _DETECTRON2_BLOCKS)
    return _background_first(_rename(state, rules, "detectron2's R-CNN FPN"))


def from_torchvision_fpn(state: Mapping[str, Tensor]) -> State:
    """Convert a state dict of torchvision's `FasterRCNN(resnet_fpn_backbone(...))`.

    Raises:
        ValueError: if a tensor name does not belong to this layout.
    """
    return _rename(state, (_TORCHVISION_FPN,), "torchvision's Faster R-CNN FPN")


LAYOUTS = (
    Layout("action-genome", "RCNN_base.0.weight", from_jwyang),
    Layout("detectron2-fpn", "backbone.fpn_lateral2.weight", from_detectron2_fpn),
    Layout("detectron2-c4", "roi_heads.res5.0.conv1.weight", from_detectron2_c4),
    Layout("torchvision-fpn", "roi_heads.box_head.fc6.weight", from_torchvision_fpn),
)


def recognise_layout(state: Mapping[str, Tensor]) -> Layout:
    """Return the layout whose `mark` is a tensor name in the state dict.

    Raises:
        ValueError: if the state dict contains the `mark` of no layout.
    """
    for layout in LAYOUTS:
        if layout.mark in state:
            return layout
    names = sorted(state)[:2]
    raise ValueError(
        "state dict: a Faster R-CNN of jwyang (RCNN_base.0.weight), detectron2 C4 or FPN "
        "(proposal_generator....) or torchvision FPN (roi_heads.box_head.fc6.weight) expected, "
        f"got {len(state)} tensors; first names: {', '.join(map(repr, names)) or 'none'}"
    )


def measure_network(state: Mapping[str, Tensor]) -> tuple[NetworkSize, int]:
    """Infer the sizes of a network and its number of object classes from the tensor shapes.

    Args:
        state: state dict with the names of `Detector`.

    Returns:
        A tuple of the sizes of the network and the number of object classes O, without background.

    Raises:
        ValueError: if the shapes do not match any supported network.
    """
    body = "trunk.body." if "trunk.body.conv1.weight" in state else "trunk."
    try:
        firsts = [re.compile(rf"{re.escape(body)}layer{i}\.\d+\.bn1\.weight") for i in (1, 2, 3)]
        blocks = tuple(len(list(filter(first.fullmatch, state))) for first in firsts)
        depth = next(d for d, counts in STAGES.items() if counts[:3] == blocks)
        fpn = body == "trunk.body."
        return NetworkSize(
            depth=depth,
            width=len(state[f"{body}conv1.weight"]),
            fpn_channels=len(state["trunk.fpn.inner_blocks.0.0.weight"]) if fpn else 256,
            head_width=len(state["roi_head.body.fc1.weight"]) if fpn else 1024,
        ), len(state["roi_head.cls_score.weight"]) - 1
    except (KeyError, StopIteration, IndexError, TypeError) as error:
        raise ValueError(
            f"state dict: a ResNet of depth {', '.join(map(str, STAGES))} with a stem and heads "
            f"expected, got another network ({error!r})"
        ) from error


def shift_norm_epsilon(state: Mapping[str, Tensor], theirs: float, ours: float = 1e-5) -> State:
    """Shift running variances to compensate for a different epsilon of the norms.

    With the shifted variances, a norm with the epsilon `ours` returns the same output as a norm
    with the epsilon `theirs`. torchvision's COCO weights of fasterrcnn_resnet50_fpn use epsilon 0.

    Args:
        state: tensors by name.
        theirs: epsilon of the network from which the weights were saved.
        ours: epsilon of the network into which the weights are loaded.

    Returns:
        All tensors by name, with new values for `running_var`.
    """
    return {
        name: value + (theirs - ours) if name.endswith("running_var") else value
        for name, value in state.items()
    }


def _rename(state: Mapping[str, Tensor], steps: Sequence[_Rules], whose: str) -> State:
    """Rename tensors in steps.

    In the first step, one rule must match the start of each name. In later steps, matches are
    optional.
    """
    renamed: State = {}
    for name, value in state.items():
        if _CONSTANTS.fullmatch(name):
            continue
        for theirs, ours in steps[0]:
            new, count = re.subn("^" + theirs, ours, name)
            if count:
                break
        else:
            raise ValueError(f"state dict: names of {whose} expected, got {name!r}")
        for rules in steps[1:]:
            for theirs, ours in rules:
                new = re.sub(theirs, ours, new)
        if new in renamed:
            raise ValueError(
                f"state dict: one tensor for {new!r} expected, got a second one, {name!r}"
            )
        renamed[new] = value
    return renamed


def _background_first(state: State) -> State:
    """Move the background from the last class to the first. Its unused box deltas are 0."""
    for name, value in state.items():
        if name.startswith("roi_head.cls_score."):
            state[name] = value.roll(1, 0)
        elif name.startswith("roi_head.bbox_pred."):
            state[name] = torch.cat([value.new_zeros((4, *value.shape[1:])), value])
    return state
