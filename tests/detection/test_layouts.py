"""Conversion of state dicts of other projects."""

import re

import pytest
import torch
from torch import Tensor

from detection.build import NetworkSize, build_detector
from detection.layouts import (
    from_detectron2_c4,
    from_detectron2_fpn,
    from_jwyang,
    measure_network,
    recognise_layout,
)
from tests.detection.original_names import detectron2_names

NUM_CLASSES = 36


@pytest.mark.parametrize(("kind", "count"), [("c4", 530), ("fpn", 550)])
def test_every_name_of_detectron2_is_converted(kind: str, count: int) -> None:
    names = detectron2_names(kind)
    assert len(names) == count
    state = {name: torch.zeros(8, 1) for name in names}
    convert = from_detectron2_c4 if kind == "c4" else from_detectron2_fpn
    assert recognise_layout(state).preset == f"detectron2-{kind}"
    with torch.device("meta"):
        ours = build_detector(num_classes=NUM_CLASSES, preset=f"detectron2-{kind}")
    own = {n for n in ours.state_dict() if not n.endswith("num_batches_tracked")}
    assert convert(state).keys() == own


def test_background_becomes_the_first_class() -> None:
    scores, deltas = torch.arange(3.0), torch.arange(8.0)
    state = {
        "roi_heads.box_predictor.cls_score.bias": scores,
        "roi_heads.box_predictor.bbox_pred.bias": deltas,
        "pixel_mean": torch.zeros(3, 1, 1),
    }
    converted = from_detectron2_c4(state)
    assert converted["roi_head.cls_score.bias"].tolist() == [2, 0, 1]
    assert converted["roi_head.bbox_pred.bias"].tolist() == [0] * 4 + list(range(8))
    assert len(converted) == 2


def test_two_outputs_per_anchor_are_converted_to_their_difference() -> None:
    weight = torch.randn(24, 5, 1, 1)
    converted = from_jwyang({"RCNN_rpn.RPN_cls_score.weight": weight})["rpn.cls_score.weight"]
    x = torch.randn(1, 5, 2, 2)
    both = torch.nn.functional.conv2d(x, weight)
    softmax = torch.stack(both.chunk(2, 1)).softmax(0)[1]
    torch.testing.assert_close(torch.nn.functional.conv2d(x, converted).sigmoid(), softmax)


def test_unknown_names_and_networks_are_rejected() -> None:
    for convert in (from_jwyang, from_detectron2_c4, from_detectron2_fpn):
        with pytest.raises(ValueError, match=re.escape("got 'teapot.weight'")):
            convert({"teapot.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="got 1 tensors; first names: 'teapot'"):
        recognise_layout({"teapot": torch.zeros(1)})
    with pytest.raises(ValueError, match="got 0 tensors; first names: none"):
        recognise_layout({})
    with pytest.raises(ValueError, match="another network"):
        measure_network({"trunk.conv1.weight": torch.zeros(64, 3, 7, 7)})


@pytest.mark.parametrize("preset", ["action-genome", "detectron2-fpn"])
def test_network_sizes_are_inferred_from_shapes(preset: str) -> None:
    size = NetworkSize(depth=26, width=8, fpn_channels=24, head_width=40)
    if preset == "action-genome":
        size = NetworkSize(depth=26, width=8)
    state: dict[str, Tensor] = build_detector(num_classes=5, preset=preset, size=size).state_dict()
    assert measure_network(state) == (size, 5)
