"""State dicts with the names of other projects."""

import torch
from torch import Tensor

from detection.layouts import from_detectron2_c4, from_detectron2_fpn
from detection.resnet import STAGES

STATISTICS = ("weight", "bias", "running_mean", "running_var")


def detectron2_names(kind: str, depth: int = 101) -> list[str]:
    """Return the names of the tensors that detectron2 saves for a ResNet.

    Their number is that of detectron2, for example 530 for C4.
    """
    body = "backbone." if kind == "c4" else "backbone.bottom_up."
    convs = [f"{body}stem.conv1"]
    for stage, blocks in zip((2, 3, 4, 5), STAGES[depth], strict=True):
        inside = "roi_heads." if kind == "c4" and stage == 5 else body
        for block in range(blocks):
            at = f"{inside}res{stage}.{block}"
            convs += [f"{at}.conv{i}" for i in (1, 2, 3)]
            convs += [] if block else [f"{at}.shortcut"]
    names = [f"{c}.weight" for c in convs] + [f"{c}.norm.{s}" for c in convs for s in STATISTICS]
    rpn, box = "proposal_generator.rpn_head", "roi_heads.box_predictor"
    biased = [f"{rpn}.{part}" for part in ("conv", "objectness_logits", "anchor_deltas")]
    biased += [f"{box}.cls_score", f"{box}.bbox_pred"]
    if kind == "fpn":
        biased += [f"backbone.fpn_{p}{i}" for p in ("lateral", "output") for i in range(2, 6)]
        biased += ["roi_heads.box_head.fc1", "roi_heads.box_head.fc2"]
    return names + [f"{b}.{s}" for b in biased for s in ("weight", "bias")]


def as_detectron2(state: dict[str, Tensor], kind: str, depth: int) -> dict[str, Tensor]:
    """Convert a state dict of `Detector` to the one that detectron2 saves for the same network."""
    convert = from_detectron2_c4 if kind == "c4" else from_detectron2_fpn
    result = {}
    for name in detectron2_names(kind, depth):
        value = state[next(iter(convert({name: torch.zeros(8, 1)})))]
        if "box_predictor.cls_score" in name:
            value = value.roll(-1, 0)
        result[name] = value[4:] if "box_predictor.bbox_pred" in name else value
    return result
