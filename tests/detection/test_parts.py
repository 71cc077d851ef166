import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from detection.anchors import cell_anchors, grid_anchors
from detection.box_coder import clip_boxes, decode_boxes
from detection.postprocess import select_boxes
from detection.preprocess import preprocess
from detection.presets import ACTION_GENOME, DETECTRON2_C4, Preset, adapt


def test_caffe_anchors_equal_the_reference_implementation() -> None:
    expected = [
        (-38, -16, 53, 31), (-84, -40, 99, 55), (-176, -88, 191, 103), (-360, -184, 375, 199),
        (-24, -24, 39, 39), (-56, -56, 71, 71), (-120, -120, 135, 135), (-248, -248, 263, 263),
        (-14, -36, 29, 51), (-36, -80, 51, 95), (-80, -168, 95, 183), (-168, -344, 183, 359),
    ]  # fmt: skip
    assert cell_anchors(ACTION_GENOME.anchors).tolist() == [
        list(map(float, row)) for row in expected
    ]
    grid = grid_anchors(ACTION_GENOME.anchors, [(2, 3)], (32, 48))[0]
    assert grid[(1 * 3 + 2) * 12 + 4].tolist() == [-24 + 32, -24 + 16, 39 + 32, 39 + 16]


@given(
    st.lists(st.floats(0, 50), min_size=4, max_size=4),
    st.lists(st.floats(-1, 1), min_size=4, max_size=4),
    st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=50, deadline=None)
def test_decoding_equals_the_formula(box: list[float], delta: list[float], offset: float) -> None:
    x1, y1, w, h = box
    x2, y2 = x1 + w, y1 + h
    width, height = x2 - x1 + offset, y2 - y1 + offset
    cx, cy = x1 + width / 2 + delta[0] * width, y1 + height / 2 + delta[1] * height
    half = math.exp(delta[2]) * width / 2, math.exp(delta[3]) * height / 2
    got = decode_boxes(torch.tensor([[x1, y1, x2, y2]]), torch.tensor([delta]), offset)
    expected = torch.tensor([[cx - half[0], cy - half[1], cx + half[0], cy + half[1]]])
    torch.testing.assert_close(got, expected, atol=1e-3, rtol=1e-4)


def test_clipping_handles_nan_and_infinity() -> None:
    boxes = torch.tensor([[-3.0, float("nan"), float("inf"), 7]])
    assert clip_boxes(boxes, 10, 5, 1).tolist() == [[0, 0, 9, 4]]


def test_resizing_equals_cv2_with_a_factor() -> None:
    cv2 = pytest.importorskip("cv2")
    g = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, (1, 3, 37, 61), generator=g, dtype=torch.uint8)
    ready = preprocess(frame, adapt(ACTION_GENOME, short_side=50).pixels)
    got, scale = ready.images, ready.scale[0]
    image = frame[0].permute(1, 2, 0).numpy()[:, :, ::-1].astype(np.float32)
    image = np.ascontiguousarray(image - np.array(ACTION_GENOME.pixels.mean, dtype=np.float32))
    expected = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    np.testing.assert_allclose(got[0].permute(1, 2, 0).numpy(), expected, atol=2e-3)


def iou_by_hand(a: list[float], b: list[float]) -> float:
    w = min(a[2], b[2]) - max(a[0], b[0]) + 1
    h = min(a[3], b[3]) - max(a[1], b[1]) + 1
    inter = max(w, 0) * max(h, 0)
    areas = [(x[2] - x[0] + 1) * (x[3] - x[1] + 1) for x in (a, b)]
    return inter / (sum(areas) - inter)


def selected(proposals: Tensor, logits: Tensor, deltas: Tensor, preset: Preset) -> list[Tensor]:
    frame = {"size": (90, 100), "frame_size": (45, 50)}
    return list(select_boxes(proposals, logits, deltas, preset=preset, scale=(2.0, 2.0), **frame))


def test_postprocessing_equals_plain_loops() -> None:
    g = torch.Generator().manual_seed(3)
    corner = torch.rand(30, 2, generator=g) * 40
    proposals = torch.cat([corner, corner + 5 + torch.rand(30, 2, generator=g) * 30], 1)
    logits = torch.randn(30, 4, generator=g) * 2
    deltas = torch.randn(30, 16, generator=g)
    many = adapt(ACTION_GENOME, max_boxes=1000)
    boxes, labels, scores, rows = select_boxes(
        proposals,
        logits,
        deltas,
        preset=many,
        scale=(2.0, 2.0),
        size=(90, 100),
        frame_size=(45, 50),
    )
    expected = []
    probability = logits.softmax(1)
    for j in (1, 2, 3):
        stds = torch.tensor(ACTION_GENOME.box_stds)
        moved = decode_boxes(proposals, deltas[:, 4 * j : 4 * j + 4] * stds, 1)
        moved = clip_boxes(moved, 100, 90, 1) / 2
        left = [i for i in range(30) if probability[i, j] > 0.1]
        left.sort(key=lambda i: -float(probability[i, j]))
        kept: list[int] = []
        for i in left:
            if all(iou_by_hand(moved[i].tolist(), moved[k].tolist()) <= 0.4 for k in kept):
                kept.append(i)
        expected += [(j, i, moved[i].tolist()) for i in (kept[:1] if j == 1 else kept)]
    assert list(zip(labels.tolist(), rows.tolist(), strict=True)) == [e[:2] for e in expected]
    torch.testing.assert_close(boxes, torch.tensor([e[2] for e in expected]), atol=1e-3, rtol=0)
    assert torch.equal(scores, probability[rows, labels])
    few = adapt(ACTION_GENOME, max_boxes=3)
    best = select_boxes(
        proposals, logits, deltas, preset=few, scale=(2.0, 2.0), size=(90, 100), frame_size=(45, 50)
    )[2]
    assert sorted(best.tolist()) == sorted(scores.tolist())[-3:]


@pytest.mark.parametrize("size", [(37, 61), (200, 333), (301, 90)])
def test_resizing_equals_pillow(size: tuple[int, int]) -> None:
    image = pytest.importorskip("PIL.Image")
    g = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, (1, 3, *size), generator=g, dtype=torch.uint8)
    ready = preprocess(frame, adapt(DETECTRON2_C4, short_side=80).pixels)
    height, width = ready.size
    picture = image.fromarray(frame[0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.resize((width, height), image.Resampling.BILINEAR))
    mean = np.array(DETECTRON2_C4.pixels.mean, dtype=np.float32)
    got = ready.images[0, :, :height, :width].permute(1, 2, 0).numpy() + mean
    assert np.abs(got[:, :, ::-1] - expected).max() <= 1  # one level of 255, due to rounding
