from dataclasses import replace

import pytest
import torch
from torch import Tensor

from detection.build import NetworkSize, build_detector, seed_weights
from detection.detections import Detections
from detection.detector import Detector
from detection.layouts import from_jwyang
from detection.presets import PRESETS

SMALL = NetworkSize(depth=26, width=8, fpn_channels=16, head_width=32)


@pytest.fixture(scope="module")
def detector() -> Detector:
    built = build_detector(num_classes=36, size=SMALL, short_side=64, proposals=20)
    seed_weights(built, 0)
    return built.requires_grad_(False)


def frames(count: int, height: int = 48, width: int = 80, seed: int = 0) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), generator=g, dtype=torch.uint8)


def test_detections_have_the_right_widths_and_ranges(detector: Detector) -> None:
    found, maps = detector.detect(frames(2))
    assert (detector.feature_width, detector.union_channels, detector.num_classes) == (256, 128, 36)
    for one in found:
        assert 0 < len(one) <= 64
        assert one.feature_source == "proposal"
        assert one.features.shape == (len(one), 256)
        torch.testing.assert_close(one.distribution.sum(1), torch.ones(len(one)))
        assert int((one.labels == 0).sum()) <= 1
    unions = detector.pool_union(maps, [found[0].boxes, torch.zeros(0, 4)])
    assert [tuple(u.shape) for u in unions] == [(len(found[0]), 128, 7, 7), (0, 128, 7, 7)]


def test_batched_frames_equal_single_frames(detector: Detector) -> None:
    images = frames(3)
    together, _ = detector.detect(images)
    for row, batch in enumerate(together):
        alone = detector.detect(images[row : row + 1])[0][0]
        assert torch.equal(alone.labels, batch.labels)
        torch.testing.assert_close(alone.boxes, batch.boxes, atol=1e-3, rtol=0)
        torch.testing.assert_close(alone.features, batch.features, atol=1e-4, rtol=1e-4)


def test_provided_boxes_are_clipped_and_have_features(detector: Detector) -> None:
    boxes = torch.tensor([[-5.0, 0, 30, 500], [4, 4, 4, 4]])
    found, _ = detector.describe(
        frames(2), [boxes, boxes[:0]], [torch.tensor([0, 7]), torch.zeros(0, dtype=torch.int64)]
    )
    assert found[0].boxes.tolist() == [[0, 0, 30, 48], [4, 4, 4, 4]]
    assert found[0].labels.tolist() == [0, 7]
    assert found[0].feature_source == "box"
    assert bool(torch.isfinite(found[0].features).all())
    assert len(found[1]) == 0
    assert found[1].features.shape == (0, 256)


@pytest.fixture(scope="module", params=sorted(PRESETS))
def family(request: pytest.FixtureRequest) -> Detector:
    built = build_detector(
        num_classes=36, preset=str(request.param), size=SMALL, short_side=64, proposals=20
    )
    seed_weights(built, 0)
    return built.requires_grad_(False)


@pytest.mark.parametrize(
    "size",
    [(3, 1, 1), (3, 3, 200), (3, 4000, 2), (1, 40, 60), (4, 40, 60), (3, 4320, 7680)],
    ids=str,
)
def test_results_are_finite_for_unusual_frame_sizes(
    family: Detector, size: tuple[int, int, int]
) -> None:
    image = torch.randint(0, 256, (1, *size), generator=torch.Generator().manual_seed(0))
    found, maps = family.detect(image.to(torch.uint8))
    assert found[0].image_size == size[1:]
    assert bool(torch.isfinite(found[0].features).all())
    union = family.pool_union(maps, [found[0].boxes])[0]
    assert union.shape == (len(found[0]), family.union_channels, 7, 7)
    assert bool(torch.isfinite(union).all())


def test_grey_frames_are_repeated_and_alpha_is_dropped(family: Detector) -> None:
    rgb = frames(1)
    grey = rgb[:, :1]
    for one, other in ((grey, grey.repeat(1, 3, 1, 1)), (torch.cat([rgb, grey], 1), rgb)):
        a, b = family.detect(one)[0][0], family.detect(other)[0][0]
        assert torch.equal(a.boxes, b.boxes)
        assert torch.equal(a.features, b.features)
    with pytest.raises(ValueError, match=r"got \(1, 2, 48, 80\)"):
        family.detect(torch.zeros(1, 2, 48, 80, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"H, W > 0"):
        family.detect(torch.zeros(1, 3, 0, 80, dtype=torch.uint8))


def test_results_are_empty_for_frames_without_proposals(
    family: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(family.rpn, "forward", lambda maps, padded, sizes: [torch.zeros(0, 4)] * 2)
    found, maps = family.detect(frames(2))
    assert [len(one) for one in found] == [0, 0]
    assert found[0].features.shape == (0, family.feature_width)
    assert family.pool_union(maps, [one.boxes for one in found])[1].shape[0] == 0


def test_describe_does_not_run_the_proposal_network(
    family: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("the proposal network ran")

    monkeypatch.setattr(family.rpn, "forward", forbidden)
    boxes, labels = torch.tensor([[1.0, 1, 30, 30]]), torch.tensor([0])
    assert len(family.describe(frames(1), [boxes], [labels])[0][0]) == 1


def test_many_persons_and_no_person_are_supported(family: Detector) -> None:
    g = torch.Generator().manual_seed(0)
    corner = torch.rand(100, 2, generator=g) * 30
    boxes = torch.cat([corner, corner + 10], 1)
    people = torch.zeros(100, dtype=torch.int64)
    found, _ = family.describe(frames(1), [boxes], [people])
    assert len(found[0]) == 100
    bias = family.roi_head.cls_score.bias
    before = bias.clone()
    try:
        bias[1] += 1e4
        crowd = family.detect(frames(1))[0][0]
        assert set(crowd.labels.tolist()) == {0}
        if family.preset.selection.one_person:
            assert len(crowd) == 1
        bias[1] -= 2e4
        assert 0 not in family.detect(frames(1))[0][0].labels.tolist()
    finally:
        bias.copy_(before)


def test_results_are_empty_for_frames_without_detections(detector: Detector) -> None:
    strict = build_detector(
        num_classes=36, size=SMALL, short_side=64, proposals=5, score_threshold=1.0
    )
    strict.load_state_dict(detector.state_dict())
    with torch.inference_mode():
        found, maps = strict.detect(frames(1))
    assert found[0].features.shape == (0, 256)
    assert strict.pool_union(maps, [found[0].boxes])[0].shape == (0, 128, 7, 7)


def test_seed_determines_weights() -> None:
    def weights(seed: int) -> Tensor:
        built = build_detector(num_classes=3, size=NetworkSize(depth=26, width=4))
        seed_weights(built, seed)
        return torch.cat([p.detach().flatten() for p in built.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_unknown_names_and_depths_are_rejected() -> None:
    with pytest.raises(ValueError, match="backbone"):
        from_jwyang({"backbone.conv1.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match="depth: one of"):
        NetworkSize(depth=33)


def test_detections_are_checked_on_construction() -> None:
    one = Detections(
        torch.tensor([[0.0, 0, 5, 5]]),
        torch.tensor([1]),
        torch.tensor([0.5]),
        torch.full((1, 3), 1 / 3),
        torch.zeros(1, 4),
        (10, 10),
    )
    assert len(one[torch.tensor([False])]) == 0
    assert len(Detections.empty((10, 10), 3, 4)) == 0
    with pytest.raises(ValueError, match="in row 0"):
        replace(one, boxes=torch.tensor([[0.0, 0, 11, 5]]))
    with pytest.raises(ValueError, match="in row 0"):
        replace(one, boxes=torch.tensor([[5.0, 0, 4, 5]]))
    with pytest.raises(ValueError, match="labels"):
        replace(one, labels=torch.tensor([3]))
    with pytest.raises(ValueError, match="scores"):
        replace(one, scores=torch.tensor([1.5]))
    with pytest.raises(ValueError, match="features"):
        replace(one, features=torch.zeros(2, 4))


def test_results_are_empty_for_empty_batches(family: Detector) -> None:
    frames = torch.zeros(0, 3, 48, 64, dtype=torch.uint8)
    found, maps = family.detect(frames)
    assert found == []
    assert family.pool_union(maps, []) == []
    assert family.describe(frames, [], [])[0] == []


def test_wrong_numbers_of_boxes_and_invalid_boxes_are_rejected(family: Detector) -> None:
    frames = torch.zeros(1, 3, 48, 64, dtype=torch.uint8)
    box, label = torch.tensor([[1.0, 2, 30, 40]]), torch.tensor([1])
    for boxes in ([], [box, box]):
        with pytest.raises(ValueError, match=r"1 tensors expected \(one per frame\), got"):
            family.describe(frames, boxes, [label])
        with pytest.raises(ValueError, match=r"1 tensors expected \(one per frame\), got"):
            family.pool_union(family.feature_maps(frames), boxes)
    broken = torch.tensor([[1.0, float("nan"), 30, 40]])
    with pytest.raises(ValueError, match="in row 0"):
        family.describe(frames, [broken], [label])
    with pytest.raises(ValueError, match="in row 0"):
        family.pool_union(family.feature_maps(frames), [broken])


def test_classes_of_another_vocabulary_are_returned(detector: Detector) -> None:
    mapped = build_detector(num_classes=36, size=SMALL, short_side=64, proposals=20)
    mapped.load_state_dict(detector.state_dict())
    columns = [0, 2, -1, 2, *[-1 if i % 3 else 1 for i in range(32)]]
    mapped.map_classes(columns, 3)
    plain, maps = detector.detect(frames(2))
    found, _ = mapped.detect(frames(2))
    assert mapped.num_classes == 3
    assert sum(map(len, found)) > 0
    for before, after in zip(plain, found, strict=True):
        rows = [row for row, label in enumerate(before.labels.tolist()) if columns[label] >= 0]
        assert after.labels.tolist() == [columns[before.labels[row]] for row in rows]
        for name in ("boxes", "scores", "features"):
            assert torch.equal(getattr(after, name), getattr(before, name)[rows]), name
        for row, mine in zip(rows, after.distribution.tolist(), strict=True):
            sums = [0.0, 0.0, 0.0]
            for column, share in zip(columns, before.distribution[row].tolist(), strict=True):
                sums[column] += share if column >= 0 else 0.0
            assert mine == pytest.approx(sums, abs=1e-6)
    boxes, labels = [torch.tensor([[0.0, 0, 30, 40]])], [torch.tensor([2])]
    given, _ = mapped.describe(frames(1), boxes, labels)
    assert given[0].labels.tolist() == [2]
    assert given[0].distribution.shape == (1, 3)
    assert len(maps.levels) == 1
    with pytest.raises(ValueError, match="columns: 36 entries expected, got 2"):
        mapped.map_classes([0, 1], 3)
