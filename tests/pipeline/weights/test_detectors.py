"""Detectors on disk: cards, settings that come from them, other backends."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from detection.build import NetworkSize, build_detector, init_weights
from pipeline.config.schema import load_config
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.weights.detector_card import (
    DetectorCard,
    read_detector_card,
    read_detector_state,
    save_detector,
)
from pipeline.weights.detectors import (
    ROOT,
    detection_of,
    detector_identity,
    load_detector,
    resolve_detection,
    weights_path,
)

CLASSES = load_vocabulary("action_genome").objects
SIZE = NetworkSize(depth=26, width=4, fpn_channels=8, head_width=16, anchor_scale=0.5)


def card(**changes: Any) -> DetectorCard:
    fields = asdict(SIZE) | {
        "preset": "detectron2-fpn",
        "classes": CLASSES,
        "short_side": 64,
        "origin": "a test",
    }
    return DetectorCard(**fields | changes)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    detector = build_detector(num_classes=36, preset="detectron2-fpn", size=SIZE)
    init_weights(detector, 0)
    path = tmp_path / "d.safetensors"
    sha256 = save_detector(path, detector.state_dict(), card())
    tree = json.loads(path.with_suffix(".json").read_text())
    assert tree["sha256"] == sha256 == file_sha256(path)
    return path


def settings(*words: str) -> Any:
    return load_config(None, words).detection


def test_the_card_describes_the_network(weights: Path) -> None:
    assert read_detector_card(weights) == card()
    resolved = resolve_detection(settings(f"detection.weights={weights}"))
    assert (resolved.preset, resolved.depth, resolved.width) == ("detectron2-fpn", 26, 4)
    assert (resolved.short_side, resolved.proposals, resolved.nms_threshold) == (64, 1000, 0.5)
    detector = load_detector(settings(f"detection.weights={weights}"), CLASSES, "cpu")
    assert (detector.feature_width, detector.union_channels) == (16, 8)
    with torch.inference_mode():
        found, _ = detector.detect(torch.zeros(1, 3, 48, 64, dtype=torch.uint8))
    assert found[0].image_size == (48, 64)


def test_settings_that_contradict_the_card_are_refused(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"detection.depth: 26 expected by the card .* got 101"):
        resolve_detection(settings(f"detection.weights={weights}", "detection.depth=101"))
    with pytest.raises(UsageError, match="class 1 is 'bag', not 'cup'"):
        load_detector(settings(f"detection.weights={weights}"), ("person", "cup"), "cpu")


def test_an_identity_gives_its_detector_back(weights: Path) -> None:
    for words in (
        (f"detection.weights={weights}", "detection.short_side=80"),
        ("detection.weights=random", "detection.seed=3", "detection.depth=26", "detection.width=4"),
    ):
        given = settings(*words)
        identity = detector_identity(given)
        again = detection_of(identity.to_dict(), given)
        assert detector_identity(again) == identity
    fast = detector_identity(settings(f"detection.weights={weights}", "detection.mode=fast"))
    assert fast != detector_identity(settings(f"detection.weights={weights}"))
    assert detection_of(fast.to_dict(), given).mode.value == "fast"  # type: ignore[union-attr]
    with pytest.raises(UsageError, match="mode=folded or fast expected"):
        settings("detection.mode=exact", "detection.compile=true")


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    state = {"a": torch.tensor([0.1, 3.0]), "a.num_batches_tracked": torch.tensor(5)}
    save_detector(tmp_path / "h.safetensors", state, card(), half=True)
    again = read_detector_state(tmp_path / "h.safetensors")
    assert list(again) == ["a"]
    assert again["a"].dtype == torch.float32
    torch.testing.assert_close(again["a"], state["a"], atol=1e-4, rtol=1e-3)


def test_relative_weights_count_from_the_repository_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert weights_path("README.md", (".md",)) == ROOT / "README.md"
    with pytest.raises(UsageError, match="a file expected"):
        weights_path("nowhere.safetensors")
    with pytest.raises(UsageError, match=r"ends in \.safetensors expected"):
        weights_path("README.md")


def test_damaged_files_and_cards_are_refused(weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:500])
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other, {"card": '{"schema": "teapot"}'})
    bare = tmp_path / "bare.safetensors"
    save_file({"a": torch.zeros(1)}, bare)
    assert read_detector_card(bare) is None
    for path in (cut, other, bare):
        with pytest.raises(UsageError, match=str(path)):
            load_detector(settings(f"detection.weights={path}"), CLASSES, "cpu")


def test_weights_that_changed_since_their_card_was_written_are_refused(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="these are others"):
        detector_identity(settings(f"detection.weights={weights}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "nope"}, "preset in"),
        ({"depth": 34}, "depth in"),
        ({"width": -4}, "width: 1 to"),
        ({"anchor_scale": 1e300}, "anchor_scale: 0.001 to 1000"),
        ({"short_side": -5}, "short_side: 32 to"),
        ({"classes": []}, "classes: at least one"),
    ],
)
def test_cards_that_cannot_be_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    path = tmp_path / "w.safetensors"
    tree = card().to_dict() | changes
    save_file({"a": torch.zeros(1)}, path, {"card": json.dumps(tree)})
    with pytest.raises(UsageError, match=message):
        load_detector(settings(f"detection.weights={path}"), CLASSES, "cpu")


@pytest.mark.parametrize(
    "word",
    [
        *("detection.score_threshold=nan", "detection.nms_threshold=2", "detection.width=999999"),
        *("detection.anchor_scale=inf", "detection.short_side=100000", "detection.seed=-1"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(word: str) -> None:
    with pytest.raises(UsageError, match=word.split("=")[0]):
        settings(word)


def test_fast_mode_is_close_and_says_so(weights: Path) -> None:
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 64, 96), generator=g, dtype=torch.uint8)
    boxes = [torch.tensor([[4.0, 4, 60, 50]]), torch.zeros(0, 4)]
    labels = [torch.tensor([0]), torch.zeros(0, dtype=torch.int64)]
    results = []
    for mode in ("exact", "fast", "folded"):
        words = f"detection.weights={weights}", f"detection.mode={mode}"
        detector = load_detector(settings(*words), CLASSES, "cpu")
        with torch.inference_mode():
            found, maps = detector.describe(frames, boxes, labels)
            detector.detect(frames)
            unions = detector.pool_union(maps, boxes)
        assert found[0].features.dtype == unions[0].dtype == torch.float32
        results.append((found[0].features, unions[0]))
    for exact, fast, folded in zip(*results, strict=True):
        assert 0 < float((exact - fast).norm() / exact.norm()) < 0.05
        assert float((exact - folded).norm() / exact.norm()) < 1e-5


def test_folded_is_what_is_taken_where_nothing_is_said(weights: Path) -> None:
    words = [f"detection.weights={weights}"]
    plain = detector_identity(settings(*words))
    assert plain.to_dict()["mode"] == "folded"
    assert plain == detector_identity(settings(*words, "detection.mode=folded"))
    assert plain != detector_identity(settings(*words, "detection.mode=exact"))
    assert detector_identity(detection_of(plain.to_dict(), settings(*words))) == plain
    names = [name for name, _ in load_detector(settings(*words), CLASSES, "cpu").named_buffers()]
    assert not any("running_mean" in name for name in names)
    exact = load_detector(settings(*words, "detection.mode=exact"), CLASSES, "cpu")
    assert any("running_mean" in name for name, _ in exact.named_buffers())


def test_detectron2_that_is_not_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("VERSION: 2\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = ("detection.backend=detectron2", f"detection.config={path}", "detection.weights=a.pkl")
    with pytest.raises(UsageError, match=r"not installed; its documentation says: python -m pip"):
        detector_identity(settings(*words))
    with pytest.raises(UsageError, match="detectron2's YAML file expected"):
        settings("detection.backend=detectron2")
    with pytest.raises(UsageError, match=r"detection\.depth: not with"):
        settings(*words, "detection.depth=50")


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore")
def test_detectron2_runs_behind_the_same_detector(tmp_path: Path) -> None:
    pytest.importorskip("detectron2")
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    path, weights = tmp_path / "c.yaml", tmp_path / "w.pth"
    path.write_text(
        "VERSION: 2\nMODEL:\n  RESNETS: {DEPTH: 50}\n  ROI_HEADS: {NUM_CLASSES: 36}\n"
        "  RPN: {POST_NMS_TOPK_TEST: 20}\nINPUT: {MIN_SIZE_TEST: 64}\n"
    )
    cfg = get_cfg()
    cfg.merge_from_file(str(path))
    cfg.MODEL.DEVICE = "cpu"
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    words = ["detection.backend=detectron2", f"detection.config={path}"]
    given = settings(*words, f"detection.weights={weights}")
    identity = detector_identity(given)
    assert detector_identity(detection_of(identity.to_dict(), given)) == identity
    other = detector_identity(
        settings(*words, f"detection.weights={weights}", "detection.proposals=9")
    )
    assert other != identity
    detector = load_detector(given, CLASSES, "cpu")
    with torch.inference_mode():
        found, _ = detector.detect(torch.zeros(2, 3, 48, 64, dtype=torch.uint8))
    assert [one.features.shape[1] for one in found] == [2048, 2048]
    with pytest.raises(UsageError, match="NUM_CLASSES 2 expected"):
        load_detector(given, ("person", "cup"), "cpu")
    torch.save({"model": {"a": torch.zeros(1)}}, weights)
    with pytest.raises(UsageError, match="missing, the first is"):
        load_detector(given, CLASSES, "cpu")
    path.write_text("VERSION: 2\nTEAPOT: 1\n")
    with pytest.raises(UsageError, match="settings of detectron2 expected"):
        detector_identity(given)
