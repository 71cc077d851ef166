"""Comparison with torchvision's Faster R-CNN R101-FPN, with random weights."""

import pytest
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import misc

from detection.build import NetworkSize, build_detector
from detection.detector import Detector
from detection.layouts import from_torchvision_fpn, measure_network, shift_norm_epsilon

NUM_CLASSES, SHORT = 36, 160


def original() -> FasterRCNN:
    torch.manual_seed(0)
    backbone = resnet_fpn_backbone(backbone_name="resnet101", weights=None, trainable_layers=5)
    model = FasterRCNN(backbone, NUM_CLASSES + 1, min_size=SHORT, max_size=267).eval()
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("running_var"):
                value.copy_(0.8 + 0.4 * torch.rand(value.shape))
            elif "bn3.weight" in name:
                value.fill_(0.25)
            elif name.endswith(("cls_score.weight", "bbox_pred.weight", "cls_logits.weight")):
                gain = 0.3 if "cls_score" in name else 0.05
                value.copy_(torch.randn(value.shape) * gain)
    return model


@pytest.fixture(scope="module")
def pair() -> tuple[FasterRCNN, Detector]:
    model = original()
    state = from_torchvision_fpn(model.state_dict())
    ours = build_detector(num_classes=NUM_CLASSES, preset="torchvision-fpn", short_side=SHORT)
    ours.load_state_dict(state)
    return model, ours.requires_grad_(False)


def frame(height: int, width: int) -> Tensor:
    coarse = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(1)) * 255
    fine = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")
    return fine.clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("size", [(96, 128), (301, 203)])
def test_detections_features_and_maps_equal_torchvision(
    pair: tuple[FasterRCNN, Detector], size: tuple[int, int]
) -> None:
    model, ours = pair
    image = frame(*size)
    seen: list[Tensor] = []
    hooks = [
        model.roi_heads.box_head.register_forward_hook(lambda *row: seen.append(row[2])),
        model.rpn.register_forward_hook(lambda *row: seen.append(row[2][0][0])),
    ]
    with torch.inference_mode():
        expected = model(list(image.float() / 255))[0]
        found, maps = ours.detect(image)
        proposals = ours.rpn(maps.levels, maps.padded_size, [maps.size])
        features = ours.roi_head.features(ours.roi_head.pool(maps.levels, proposals))
        ready = model.transform(list(image.float() / 255))[0]
        levels = list(model.backbone(ready.tensors).values())
    for hook in hooks:
        hook.remove()
    for level, wanted in zip(maps.levels, levels, strict=True):
        torch.testing.assert_close(level, wanted, atol=1e-4, rtol=1e-4)
    # torchvision ranks by the sigmoid, which can be equal for close logits. We rank by the logit.
    distance, row = torch.cdist(proposals[0], seen[0], p=1).min(1)
    assert float(distance.max()) < 1e-2
    assert sorted(row.tolist()) == list(range(len(seen[0])))
    assert int((row != torch.arange(len(row))).sum()) <= 0.02 * len(row)
    torch.testing.assert_close(features, seen[1][row], atol=1e-3, rtol=1e-3)
    assert len(found[0]) == len(expected["labels"]) > 5
    assert torch.equal(found[0].labels + 1, expected["labels"])
    torch.testing.assert_close(found[0].boxes, expected["boxes"], atol=1e-2, rtol=0)
    torch.testing.assert_close(found[0].scores, expected["scores"], atol=1e-5, rtol=0)


def test_network_sizes_are_inferred_and_old_names_are_converted(
    pair: tuple[FasterRCNN, Detector],
) -> None:
    model, ours = pair
    assert measure_network(ours.state_dict()) == (NetworkSize(), NUM_CLASSES)
    old = {
        name.replace("_blocks.0.0.", "_blocks.0.").replace("conv.0.0.", "conv."): value
        for name, value in model.state_dict().items()
    }
    assert from_torchvision_fpn(old).keys() == from_torchvision_fpn(model.state_dict()).keys()


def test_shifted_variances_compensate_for_a_different_epsilon() -> None:
    theirs = misc.FrozenBatchNorm2d(4, eps=0.0)
    theirs.running_var.copy_(torch.tensor([1e-4, 0.01, 1, 5]))
    ours = torch.nn.BatchNorm2d(4).eval()
    shifted = shift_norm_epsilon(theirs.state_dict(), 0.0)
    ours.load_state_dict(shifted, strict=False)
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(ours(x), theirs(x), atol=1e-4, rtol=1e-4)
