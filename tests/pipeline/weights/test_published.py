"""Published detectors are recognised by the checksum in their name."""

import hashlib
from pathlib import Path

import pytest
import torch

from detection.build import NetworkSize, build_detector, seed_weights
from pipeline.config.schema import DetectionConfig
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from pipeline.weights import published
from pipeline.weights.detector_card import DetectorCard
from pipeline.weights.detectors import resolve_detector
from tests.detection.original_names import as_detectron2
from tools import convert_weights

SIZE = NetworkSize(depth=26, width=4, fpn_channels=8, head_width=16)


@pytest.fixture
def coco(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File of a small detector of COCO's classes, with its checksum in the name."""
    detector = build_detector(num_classes=80, preset="detectron2-fpn", size=SIZE)
    seed_weights(detector, 0)
    state = {"model": as_detectron2(detector.state_dict(), "fpn", 26)}
    torch.save(state, tmp_path / "new")
    digits = hashlib.md5((tmp_path / "new").read_bytes()).hexdigest()[:6]
    monkeypatch.setattr(published, "_DETECTRON2", (digits,))
    return (tmp_path / "new").rename(tmp_path / f"model_final_{digits}.pkl")


def test_known_detector_needs_no_class_names(coco: Path, caplog: pytest.LogCaptureFixture) -> None:
    out = coco.with_suffix(".safetensors")
    assert convert_weights.main([str(coco), str(out)]) == 0
    card = DetectorCard.read_header(out, "w")
    assert card is not None
    assert card.classes[:3] == ("person", "bicycle", "car")
    assert len(card.classes) == 80
    words = load_vocabulary("action_genome")
    resolved = resolve_detector(DetectionConfig(weights=str(out)))
    detector = resolved.load(words.objects, "cpu", words.aliases)
    assert detector.num_classes == 36
    assert detector.columns is not None
    at = {name: detector.columns[index] for index, name in enumerate(card.classes)}
    for name, expected in (
        ("person", "person"),
        ("chair", "chair"),
        ("tv", "television"),
        ("pizza", "food"),
        ("wine glass", "cup/glass/bottle"),
        ("car", None),
    ):
        assert at[name] == (-1 if expected is None else words.objects.index(expected))
    assert "cannot detect: blanket, box, broom," in caplog.text
    assert "chair" not in caplog.text


def test_damaged_file_is_refused(coco: Path) -> None:
    coco.write_bytes(coco.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match=r"as in the name of the file.*download it again"):
        convert_weights.main([str(coco), str(coco.with_suffix(".safetensors"))])


@pytest.mark.parametrize(
    ("name", "algorithm"),
    [("fasterrcnn_resnet50_fpn_coco-{}.pth", "sha256"), ("model_final_{}.pkl", "md5")],
)
def test_checksum_in_the_name_is_compared(tmp_path: Path, name: str, algorithm: str) -> None:
    digits = hashlib.new(algorithm, b"weights").hexdigest()[: 8 if algorithm == "sha256" else 6]
    path = tmp_path / name.format(digits)
    path.write_bytes(b"weights")
    assert published.check_name(path) is None  # unchanged, but not a known file
    path.write_bytes(b"other")
    with pytest.raises(UsageError, match=f"{algorithm} {digits}"):
        published.check_name(path)
    path = tmp_path / "detector.pth"
    path.write_bytes(b"weights")
    assert published.check_name(path) is None


def test_unused_ids_of_coco_have_names_of_their_own() -> None:
    names = published.coco_classes()
    assert len({*names}) == len(names) == 90
    assert (names[0], names[11], names[89]) == ("person", "unused 12", "toothbrush")
    assert sum(not name.startswith("unused") for name in names) == 80
