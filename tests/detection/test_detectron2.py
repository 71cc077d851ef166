"""Comparison with detectron2, with random weights.

The tests are skipped if detectron2 cannot be imported. The source tree of detectron2 on PYTHONPATH
is sufficient, with fvcore, iopath, yacs, tabulate, termcolor, portalocker and cloudpickle. It does
not have to be compiled.
"""

import math
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

from detection.build import build_detector
from detection.detector import Detector
from detection.detectron2_parts import detector_from_detectron2
from detection.layouts import from_detectron2_c4, from_detectron2_fpn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    detectron2 = pytest.importorskip("detectron2")
    from detectron2.config import get_cfg
    from detectron2.data.transforms import ResizeShortestEdge
    from detectron2.modeling import build_model
    from detectron2.structures import Boxes

pytestmark = [pytest.mark.detectron2, pytest.mark.filterwarnings("ignore")]
NUM_CLASSES, SHORT, PROPOSALS = 36, 160, 60


def settings(kind: str) -> Any:
    cfg = get_cfg()
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.RESNETS.DEPTH = 101
    cfg.MODEL.ROI_HEADS.NUM_CLASSES = NUM_CLASSES
    cfg.MODEL.RPN.POST_NMS_TOPK_TEST = PROPOSALS
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = SHORT, 267
    if kind == "c4":
        cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 6000
        return cfg
    cfg.MODEL.BACKBONE.NAME = "build_resnet_fpn_backbone"
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.FPN.IN_FEATURES = ["res2", "res3", "res4", "res5"]
    cfg.MODEL.ANCHOR_GENERATOR.SIZES = [[32], [64], [128], [256], [512]]
    cfg.MODEL.RPN.IN_FEATURES = ["p2", "p3", "p4", "p5", "p6"]
    cfg.MODEL.RPN.PRE_NMS_TOPK_TEST = 1000
    cfg.MODEL.ROI_HEADS.NAME = "StandardROIHeads"
    cfg.MODEL.ROI_HEADS.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    cfg.MODEL.ROI_BOX_HEAD.NAME = "FastRCNNConvFCHead"
    cfg.MODEL.ROI_BOX_HEAD.NUM_FC = 2
    cfg.MODEL.ROI_BOX_HEAD.POOLER_RESOLUTION = 7
    return cfg


def fill(model: torch.nn.Module) -> None:
    """Fill the model with random weights and statistics that lead to proposals and detections."""
    g = torch.Generator().manual_seed(0)
    for name, value in model.state_dict().items():
        noise = torch.randn(value.shape, generator=g)
        if name.endswith("running_var"):
            noise = 0.8 + 0.4 * noise.sigmoid()
        elif value.ndim == 1:
            small = 0.25 if name.endswith("conv3.norm.weight") else 1.0
            is_scale = name.endswith("norm.weight")
            noise = small * (1 + 0.1 * noise) if is_scale else 0.05 * noise
        else:
            gain = 1 / 80 if "stem" in name else 0.1 if "anchor_deltas" in name else 1.0
            gain = 3.0 if name.endswith("cls_score.weight") else gain
            noise = gain * noise * math.sqrt(2 / noise[0].numel())
            if any(part in name for part in ("cls_score", "bbox_pred", "objectness", "anchor_d")):
                noise = noise - noise.flatten(1).mean(1).view([-1] + [1] * (noise.ndim - 1))
        value.copy_(noise)


@pytest.fixture(scope="module", params=["c4", "fpn"])
def pair(request: pytest.FixtureRequest) -> tuple[Any, Any, Detector]:
    kind = str(request.param)
    cfg = settings(kind)
    model = build_model(cfg).eval()
    with torch.no_grad():
        fill(model)
    convert = from_detectron2_c4 if kind == "c4" else from_detectron2_fpn
    ours = build_detector(
        num_classes=NUM_CLASSES,
        preset=f"detectron2-{kind}",
        short_side=SHORT,
        proposals=PROPOSALS,
    )
    ours.load_state_dict(convert(model.state_dict()))
    return cfg, model, ours.requires_grad_(False)


def frame() -> Tensor:
    g = torch.Generator().manual_seed(1)
    coarse = torch.rand(1, 3, 12, 16, generator=g) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(96, 128), mode="bicubic")
    return fine.clamp(0, 255).to(torch.uint8)


def as_original(cfg: Any, image: Tensor) -> dict[str, Any]:
    """Return the input that detectron2's DefaultPredictor passes to the model."""
    bgr = image[0].permute(1, 2, 0).numpy()[:, :, ::-1]
    resize = ResizeShortestEdge([cfg.INPUT.MIN_SIZE_TEST] * 2, cfg.INPUT.MAX_SIZE_TEST)
    resized = resize.get_transform(bgr).apply_image(bgr)
    tensor = torch.as_tensor(resized.astype("float32").transpose(2, 0, 1))
    return {"image": tensor, "height": image.shape[2], "width": image.shape[3]}


def test_detections_equal_detectron2(pair: tuple[Any, Any, Detector]) -> None:
    cfg, model, ours = pair
    with torch.inference_mode():
        expected = model([as_original(cfg, frame())])[0]["instances"]
        found = ours.detect(frame())[0][0]
    assert 5 < len(found) == len(expected)
    assert torch.equal(found.labels, expected.pred_classes)
    torch.testing.assert_close(found.boxes, expected.pred_boxes.tensor, atol=1e-3, rtol=0)
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-5, rtol=0)


def test_every_stage_equals_detectron2(pair: tuple[Any, Any, Detector]) -> None:
    cfg, model, ours = pair
    unions = torch.tensor([[3.0, 5, 90, 80], [0, 0, 128, 96], [60, 30, 62, 33]])
    with torch.inference_mode():
        images = model.preprocess_image([as_original(cfg, frame())])
        features = model.backbone(images.tensor)
        maps = ours.feature_maps(frame())
        names = model.proposal_generator.in_features
        for name, level in zip(names, maps.levels, strict=True):
            torch.testing.assert_close(level, features[name], atol=1e-4, rtol=1e-5)
        proposals = model.proposal_generator(images, features, None)[0][0].proposal_boxes
        mine = ours.rpn(maps.levels, maps.padded_size, [maps.size])[0]
        torch.testing.assert_close(mine, proposals.tensor, atol=1e-3, rtol=0)
        heads = model.roi_heads
        if hasattr(heads, "res5"):
            pooled = heads._shared_roi_transform([features["res4"]], [proposals]).mean([2, 3])
        else:
            levels = [features[name] for name in heads.box_in_features]
            pooled = heads.box_head(heads.box_pooler(levels, [proposals]))
        described = ours.roi_head.features(ours.roi_head.pool(maps.levels, [mine]))
        torch.testing.assert_close(described, pooled, atol=1e-3, rtol=1e-4)
        theirs = detector_from_detectron2(model, cfg)
        union = ours.pool_union(maps, [unions])[0]
        wanted = theirs.pool_union(theirs.feature_maps(frame()), [unions])[0]
        torch.testing.assert_close(union, wanted, atol=1e-4, rtol=1e-5)
        if not hasattr(heads, "res5"):
            wanted = heads.box_pooler(levels, [Boxes(maps.to_network(unions))])
            torch.testing.assert_close(union, wanted, atol=1e-4, rtol=1e-5)


def test_wrapped_detectron2_model_equals_our_detector(pair: tuple[Any, Any, Detector]) -> None:
    cfg, model, ours = pair
    theirs = detector_from_detectron2(model, cfg)
    widths = (ours.feature_width, ours.union_channels, ours.num_classes)
    assert widths == (theirs.feature_width, theirs.union_channels, theirs.num_classes)
    boxes, labels = [torch.tensor([[3.0, 5, 90, 80]])], [torch.tensor([4])]
    with torch.inference_mode():
        a, b = ours.detect(frame())[0][0], theirs.detect(frame())[0][0]
        c, d = (one.describe(frame(), boxes, labels)[0][0] for one in (ours, theirs))
    assert torch.equal(a.labels, b.labels)
    for one, other in ((a, b), (c, d)):
        for name in ("boxes", "scores", "distribution"):
            torch.testing.assert_close(
                getattr(one, name), getattr(other, name), atol=1e-3, rtol=1e-4
            )
        torch.testing.assert_close(one.features, other.features, atol=1e-3, rtol=1e-4)
