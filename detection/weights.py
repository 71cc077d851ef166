"""State dicts in and out of a detector; strict, by name."""

import torch
from torch import Tensor

from detection.detector import Detector

_JWYANG = (
    ("RCNN_base.0.", "trunk.conv1."),
    ("RCNN_base.1.", "trunk.bn1."),
    ("RCNN_base.4.", "trunk.layer1."),
    ("RCNN_base.5.", "trunk.layer2."),
    ("RCNN_base.6.", "trunk.layer3."),
    ("RCNN_top.0.", "roi_head.layer4."),
    ("RCNN_rpn.RPN_Conv.", "rpn.conv."),
    ("RCNN_rpn.RPN_cls_score.", "rpn.cls_score."),
    ("RCNN_rpn.RPN_bbox_pred.", "rpn.bbox_pred."),
    ("RCNN_cls_score.", "roi_head.cls_score."),
    ("RCNN_bbox_pred.", "roi_head.bbox_pred."),
)


def from_jwyang(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename the tensors of jwyang/faster-rcnn.pytorch (`faster_rcnn_ag.pth`, key `model`).

    Raises:
        ValueError: for a name of another layout.
    """
    renamed = {}
    for name, value in state.items():
        for theirs, ours in _JWYANG:
            if name.startswith(theirs):
                renamed[ours + name.removeprefix(theirs)] = value
                break
        else:
            raise ValueError(
                f"state dict: names of jwyang's Faster R-CNN (RCNN_base.…) expected, got {name!r}"
            )
    return renamed


def load_state(detector: Detector, state: dict[str, Tensor]) -> None:
    """Load every tensor, or none.

    `num_batches_tracked` may be absent, as in files of old torch versions.

    Raises:
        ValueError: names the first missing, unexpected, misshapen or non-finite tensor.
    """
    own = detector.state_dict()
    state = {name: value for name, value in state.items() if not _is_counter(name)}
    wanted = {name: value for name, value in own.items() if not _is_counter(name)}
    for what, names in (
        ("missing", wanted.keys() - state.keys()),
        ("unexpected", state.keys() - wanted.keys()),
    ):
        if names:
            raise ValueError(
                f"state dict: {len(wanted)} tensors expected, got {len(state)}; "
                f"{len(names)} {what}, the first is {min(names)!r}"
            )
    for name, value in state.items():
        if value.shape != wanted[name].shape:
            raise ValueError(
                f"{name}: shape {tuple(wanted[name].shape)} expected, got {tuple(value.shape)}; "
                "is it another number of classes, depth or width?"
            )
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name}: finite numbers expected, got NaN or infinity")
    detector.load_state_dict(own | state)


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")
