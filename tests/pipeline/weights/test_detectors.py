"""Tests of detectors with weights, of settings from their cards, and of the detectron2 backend."""

import importlib.util
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from detection.build import NetworkSize, build_detector, init_weights
from pipeline.config.loading import load_config
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.runtime.files import file_sha256
from pipeline.weights.cards import read_tensors, save_carded
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.detectors import (
    find_described_detector,
    find_detector_weights,
    resolve_detector,
    resolve_network,
)
from pipeline.weights.files import ROOT

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
    sha256 = save_carded(path, detector.state_dict(), card())
    tree = json.loads(path.with_suffix(".json").read_text())
    assert tree["sha256"] == sha256 == file_sha256(path)
    return path


def settings(*words: str) -> Any:
    return load_config(None, words).detection


def test_card_determines_the_network(weights: Path) -> None:
    assert DetectorCard.read_header(weights, "w") == card()
    resolved = resolve_network(settings(f"detection.weights={weights}"))
    assert (resolved.preset, resolved.depth, resolved.width) == ("detectron2-fpn", 26, 4)
    assert (resolved.short_side, resolved.proposals, resolved.nms_threshold) == (64, 1000, 0.5)
    detector = resolve_detector(settings(f"detection.weights={weights}")).load(CLASSES, "cpu")
    assert (detector.feature_width, detector.union_channels) == (16, 8)
    with torch.inference_mode():
        found, _ = detector.detect(torch.zeros(1, 3, 48, 64, dtype=torch.uint8))
    assert found[0].image_size == (48, 64)


def test_settings_that_contradict_the_card_are_rejected(weights: Path) -> None:
    with pytest.raises(UsageError, match=r"detection.depth: 26 expected \(card of .*\), got 101"):
        resolve_network(settings(f"detection.weights={weights}", "detection.depth=101"))
    with pytest.raises(UsageError, match="class 1: 'cup' expected, got 'bag'"):
        resolve_detector(settings(f"detection.weights={weights}")).load(("person", "cup"), "cpu")


def test_detector_is_restored_from_its_description(weights: Path) -> None:
    for words in (
        (f"detection.weights={weights}", "detection.short_side=80"),
        ("detection.weights=random", "detection.seed=3", "detection.depth=26", "detection.width=4"),
    ):
        given = settings(*words)
        detector = resolve_detector(given)
        # Only the weights are provided. All other settings are taken from the description.
        files = settings(f"detection.weights={given.weights}")
        assert find_described_detector(detector.to_dict(), files) == detector
    files = settings(f"detection.weights={weights}")
    fast = resolve_detector(settings(f"detection.weights={weights}", "detection.mode=fast"))
    assert fast != resolve_detector(files)
    assert find_described_detector(fast.to_dict(), files) == fast
    with pytest.raises(UsageError, match="mode=folded or fast expected"):
        settings("detection.mode=exact", "detection.compile=true")


def test_half_precision_is_read_as_float32(tmp_path: Path) -> None:
    state = {"a": torch.tensor([0.1, 3.0]), "a.num_batches_tracked": torch.tensor(5)}
    save_carded(tmp_path / "h.safetensors", state, card(), half=True)
    again = read_tensors(tmp_path / "h.safetensors", "w")
    assert list(again) == ["a"]
    assert again["a"].dtype == torch.float32
    torch.testing.assert_close(again["a"], state["a"], atol=1e-4, rtol=1e-3)


def test_relative_paths_are_also_searched_in_the_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_detector_weights("README.md", (".md",)) == ROOT / "README.md"
    with pytest.raises(UsageError, match="weights file not found"):
        find_detector_weights("nowhere.safetensors")
    with pytest.raises(UsageError, match=r"ends in \.safetensors expected"):
        find_detector_weights("README.md")


def test_damaged_files_and_cards_are_rejected(weights: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(weights.read_bytes()[:500])
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other, {"card": '{"schema": "teapot"}'})
    bare = tmp_path / "bare.safetensors"
    save_file({"a": torch.zeros(1)}, bare)
    assert DetectorCard.read_header(bare, "w") is None
    for path in (cut, other, bare):
        with pytest.raises(UsageError, match=str(path)):
            resolve_detector(settings(f"detection.weights={path}")).load(CLASSES, "cpu")


def test_weights_whose_sha256_differs_from_their_card_are_rejected(weights: Path) -> None:
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(bytes(data))
    with pytest.raises(UsageError, match="got other weights"):
        resolve_detector(settings(f"detection.weights={weights}"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "nope"}, "preset: one of"),
        ({"depth": 34}, "depth: one of"),
        ({"width": -4}, "width: 1 to"),
        ({"anchor_scale": 1e300}, "anchor_scale: 0.001 to 1000"),
        ({"short_side": -5}, "short_side: 32 to"),
        ({"classes": []}, "classes: at least one"),
    ],
)
def test_cards_with_invalid_values_are_rejected(
    tmp_path: Path, changes: dict, message: str
) -> None:
    path = tmp_path / "w.safetensors"
    tree = card().to_dict() | changes
    save_file({"a": torch.zeros(1)}, path, {"card": json.dumps(tree)})
    with pytest.raises(UsageError, match=message):
        resolve_detector(settings(f"detection.weights={path}")).load(CLASSES, "cpu")


@pytest.mark.parametrize(
    "word",
    [
        "detection.score_threshold=nan",
        "detection.nms_threshold=2",
        "detection.width=999999",
        "detection.anchor_scale=inf",
        "detection.short_side=100000",
        "detection.seed=-1",
    ],
)
def test_settings_out_of_range_are_rejected_with_their_name(word: str) -> None:
    with pytest.raises(UsageError, match=word.split("=")[0]):
        settings(word)


def test_fast_and_folded_modes_are_close_to_exact(weights: Path) -> None:
    g = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (2, 3, 64, 96), generator=g, dtype=torch.uint8)
    boxes = [torch.tensor([[4.0, 4, 60, 50]]), torch.zeros(0, 4)]
    labels = [torch.tensor([0]), torch.zeros(0, dtype=torch.int64)]
    results = []
    for mode in ("exact", "fast", "folded"):
        words = f"detection.weights={weights}", f"detection.mode={mode}"
        detector = resolve_detector(settings(*words)).load(CLASSES, "cpu")
        with torch.inference_mode():
            found, maps = detector.describe(frames, boxes, labels)
            detector.detect(frames)
            unions = detector.pool_union(maps, boxes)
        assert found[0].features.dtype == unions[0].dtype == torch.float32
        results.append((found[0].features, unions[0]))
    for exact, fast, folded in zip(*results, strict=True):
        assert 0 < float((exact - fast).norm() / exact.norm()) < 0.05
        assert float((exact - folded).norm() / exact.norm()) < 1e-5


def test_folded_is_the_default_mode(weights: Path) -> None:
    words = [f"detection.weights={weights}"]
    plain = resolve_detector(settings(*words))
    assert plain.to_dict()["mode"] == "folded"
    assert plain == resolve_detector(settings(*words, "detection.mode=folded"))
    assert plain != resolve_detector(settings(*words, "detection.mode=exact"))
    assert find_described_detector(plain.to_dict(), settings(*words)) == plain
    folded = plain.load(CLASSES, "cpu")
    assert not any("running_mean" in name for name, _ in folded.named_buffers())
    exact = resolve_detector(settings(*words, "detection.mode=exact")).load(CLASSES, "cpu")
    assert any("running_mean" in name for name, _ in exact.named_buffers())


def test_missing_detectron2_raises_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("VERSION: 2\n")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    words = ("detection.backend=detectron2", f"detection.config={path}", "detection.weights=a.pkl")
    with pytest.raises(
        UsageError, match=r"not installed\. Install it as described in its documentation: python"
    ):
        resolve_detector(settings(*words))
    with pytest.raises(UsageError, match="detectron2's YAML file expected"):
        settings("detection.backend=detectron2")
    with pytest.raises(UsageError, match=r"detection\.depth: not supported"):
        settings(*words, "detection.depth=50")


@pytest.mark.detectron2
@pytest.mark.filterwarnings("ignore")
def test_detectron2_model_runs_as_a_detector(tmp_path: Path) -> None:
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
    detector = resolve_detector(given)
    assert find_described_detector(detector.to_dict(), given) == detector
    other = resolve_detector(
        settings(*words, f"detection.weights={weights}", "detection.proposals=9")
    )
    assert other != detector
    network = resolve_detector(given).load(CLASSES, "cpu")
    with torch.inference_mode():
        found, _ = network.detect(torch.zeros(2, 3, 48, 64, dtype=torch.uint8))
    assert [one.features.shape[1] for one in found] == [2048, 2048]
    with pytest.raises(UsageError, match="NUM_CLASSES 2 expected"):
        resolve_detector(given).load(("person", "cup"), "cpu")
    torch.save({"model": {"a": torch.zeros(1)}}, weights)
    with pytest.raises(UsageError, match="missing, the first is"):
        resolve_detector(given).load(CLASSES, "cpu")
    path.write_text("VERSION: 2\nTEAPOT: 1\n")
    with pytest.raises(UsageError, match="a config of detectron2 expected"):
        resolve_detector(given)


def test_invalid_descriptions_and_other_weights_are_rejected(weights: Path, tmp_path: Path) -> None:
    files = settings(f"detection.weights={weights}")
    described = resolve_detector(files).to_dict()
    for change, says in (
        ({"preset": "nope"}, "preset: one of"),
        ({"depth": 34}, "depth: one of"),
        ({"width": "wide"}, "width: int expected, got str"),
        ({"max_boxes": 0}, "max_boxes: 1 to 100000 expected, got 0"),
        ({"score_threshold": 5}, "score_threshold: 0 to 1 expected, got 5"),
        ({"proposals": -3}, "proposals: 1 to"),
        ({"mode": 7}, "mode: one of exact, folded, fast expected, got 7"),
        ({"compile": "yes"}, "compile: bool expected"),
        ({"short_side": None}, "short_side: int expected"),
        ({"short_side": -1}, "short_side: 32 to"),
        ({"weights": None}, "weights: a string expected"),
        ({"teapot": 1}, "teapot: no such field"),
    ):
        with pytest.raises(UsageError, match=rf"model\.json: cache\.detector: {says}"):
            find_described_detector(described | change, files)
    with pytest.raises(UsageError, match=r"cache\.detector: [a-z_]+: missing"):
        find_described_detector({"weights": described["weights"]}, files)
    with pytest.raises(UsageError, match="the detector of the training run"):
        find_described_detector(described | {"weights": "0" * 64}, files)
    with pytest.raises(UsageError, match=r"the detector weights of the training run expected"):
        find_described_detector(described, settings("detection.weights=random"))
