"""Matching, sampling and losses of detector training."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detection.box_coder import decode_boxes, encode_boxes
from detection.build import NetworkSize, build_detector, init_weights
from detection.loss import DetectionLoss, LossSettings, Targets
from detection.matching import IGNORED, NEGATIVE, match_boxes, sample_balanced


def random_boxes(count: int, seed: int, size: float = 60.0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=g) * size
    return torch.cat([corner, corner + 1 + torch.rand(count, 2, generator=g) * size / 2], 1)


def iou(a: list[float], b: list[float], offset: float) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + offset
    h = min(a[3], b[3]) - max(a[1], b[1]) + offset
    shared = max(w, 0) * max(h, 0)
    areas = [(x[2] - x[0] + offset) * (x[3] - x[1] + offset) for x in (a, b)]
    return shared / (sum(areas) - shared)


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("keep_best", [False, True])
def test_matching_equals_plain_loops(offset: float, keep_best: bool) -> None:
    boxes, targets = random_boxes(40, 0), random_boxes(6, 1)
    got = match_boxes(boxes, targets, low=0.3, high=0.6, offset=offset, keep_best=keep_best)
    table = [[iou(b, t, offset) for t in targets.tolist()] for b in boxes.tolist()]
    most = [max(row[j] for row in table) for j in range(6)]
    for row, match in zip(table, got.tolist(), strict=True):
        best = max(row)
        expected = NEGATIVE if best < 0.3 else IGNORED
        is_most = any(v > 0 and abs(v - m) < 1e-6 for v, m in zip(row, most, strict=True))
        if best >= 0.6 or (keep_best and is_most):
            expected = row.index(best)
        assert match == expected
    assert (match_boxes(boxes, targets[:0], low=0.3, high=0.6) == NEGATIVE).all()
    assert len(match_boxes(boxes[:0], targets, low=0.3, high=0.6)) == 0


@given(
    st.lists(st.sampled_from([-2, -1, 0]), max_size=40),
    st.integers(0, 20),
    st.sampled_from([0.0, 0.25, 1.0]),
)
@settings(max_examples=60, deadline=None)
def test_samples_are_distinct_and_balanced(match: list[int], num: int, share: float) -> None:
    values = torch.tensor(match, dtype=torch.int64)
    positive, negative = sample_balanced(values >= 0, values == -1, num, share)
    rows = positive.tolist() + negative.tolist()
    assert len(set(rows)) == len(rows) <= num
    assert all(match[i] == 0 for i in positive.tolist())
    assert all(match[i] == -1 for i in negative.tolist())
    assert len(positive) == min(match.count(0), int(num * share))
    assert len(negative) == min(match.count(-1), num - len(positive))


def test_encoding_is_the_inverse_of_decoding() -> None:
    boxes, targets = random_boxes(30, 2), random_boxes(30, 3)
    moved = decode_boxes(boxes, encode_boxes(boxes, targets, 0.0), 0.0)
    torch.testing.assert_close(moved, targets, atol=1e-3, rtol=1e-4)
    legacy = decode_boxes(boxes, encode_boxes(boxes, targets, 1.0), 1.0)
    half = torch.tensor([-0.5, -0.5, 0.5, 0.5]) + 0.5
    torch.testing.assert_close(legacy, targets + half, atol=1e-3, rtol=1e-4)


@pytest.fixture(params=["detectron2-fpn", "action-genome"])
def loss(request: pytest.FixtureRequest) -> DetectionLoss:
    size = NetworkSize(depth=26, width=4, fpn_channels=8, head_width=16, anchor_scale=0.25)
    detector = build_detector(num_classes=3, preset=str(request.param), size=size)
    init_weights(detector, 0)
    return DetectionLoss(detector, LossSettings(post_nms=20, roi_batch=16, rpn_batch=32))


def test_zeroed_classifiers_have_the_loss_of_uniform_probabilities(
    loss: DetectionLoss,
) -> None:
    targets = [
        Targets(torch.tensor([[8.0, 8, 40, 56]]), torch.tensor([1])),
        Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)),
    ]
    for value in (loss.detector.rpn.cls_score, loss.detector.roi_head.cls_score):
        torch.nn.init.zeros_(value.weight)
    terms = loss(torch.randn(2, 3, 64, 64), [(64, 64)] * 2, targets)
    assert terms["rpn_class"].item() == pytest.approx(math.log(2), abs=1e-5)
    assert terms["roi_class"].item() == pytest.approx(math.log(4), abs=1e-5)
    torch.stack(list(terms.values())).sum().backward()
    for name, weight in loss.detector.named_parameters():
        assert weight.grad is not None, name


def test_image_without_boxes_has_no_box_loss(loss: DetectionLoss) -> None:
    nothing = Targets(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))
    terms = loss(torch.randn(1, 3, 64, 64), [(64, 64)], [nothing])
    assert terms["rpn_box"].item() == 0
    assert terms["roi_box"].item() == 0
    assert all(torch.isfinite(t) for t in terms.values())


def test_detector_learns_one_image_in_a_few_steps(loss: DetectionLoss) -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    images[:, :, 16:48, 8:40] += 3
    target = Targets(torch.tensor([[8.0, 16, 40, 48]]), torch.tensor([2]))
    optimizer = torch.optim.AdamW(loss.parameters(), lr=3e-3)
    values = []
    for _ in range(60):
        total = torch.stack(list(loss(images, [(64, 64)] * 2, [target, target]).values())).sum()
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append(total.item())
    assert values[-1] < 0.5 * values[0]
    head = loss.detector.roi_head
    with torch.no_grad():
        pooled = head.pool(loss.detector.trunk(images), [target.boxes, target.boxes])
        features = head.features(pooled)
    assert head.cls_score(features).argmax(1).tolist() == [3, 3]
