"""Folders in the layout of the Hugging Face Hub."""

import importlib.util
import json
import shutil
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline import LaIARPredictor
from pipeline.errors import UsageError
from pipeline.predictor import WORLD
from pipeline.weights.pretrained import CONFIG, FILES, README, find_folder, save_folder
from tests.conftest import World

ABOUT = {"licence": "apache-2.0", "data": "Videos of the synthetic world."}


@pytest.fixture(scope="module")
def predictor() -> LaIARPredictor:
    return LaIARPredictor.from_run(WORLD, "device=cpu")


@pytest.fixture
def folder(predictor: LaIARPredictor, tmp_path: Path) -> Path:
    predictor.save_pretrained(tmp_path / "saved", **ABOUT)
    return tmp_path / "saved"


def test_loaded_folder_predicts_the_same(
    predictor: LaIARPredictor, folder: Path, world: World
) -> None:
    assert {path.name for path in folder.iterdir()} == {*FILES, CONFIG, README}
    moved = folder.rename(folder.parent / "moved")  # no path of this machine is needed
    loaded = LaIARPredictor.from_pretrained(moved, "device=cpu")
    clip = world.test_clips[0]
    ours, theirs = (p.predict(clip).to_dict() for p in (loaded, predictor))
    for tree in (ours, theirs):
        tree.pop("created", None)
    assert ours == theirs
    text = (moved / README).read_text()
    head = yaml.safe_load(text.split("---")[1])
    assert head["license"] == "apache-2.0"
    assert "Videos of the synthetic world." in text
    assert "142 actions" in text


@pytest.mark.parametrize("name", FILES)
def test_changed_and_missing_files_are_refused(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(UsageError, match=f"{name}: the SHA-256"):
        LaIARPredictor.from_pretrained(folder)
    (folder / name).unlink()
    with pytest.raises(UsageError, match=f"{name}: file not found"):
        LaIARPredictor.from_pretrained(folder)


def test_damaged_and_foreign_configurations_are_refused(folder: Path) -> None:
    tree = json.loads((folder / CONFIG).read_text())
    for text in (
        "{", "[]", "{}", json.dumps(tree | {"schema": "other/1"}),
        json.dumps(tree | {"files": {"../x": "0"}}), json.dumps({"model_type": "bert"}),
    ):  # fmt: skip
        (folder / CONFIG).write_text(text)
        with pytest.raises(UsageError, match=r"config\.json"):
            LaIARPredictor.from_pretrained(folder)
    (folder / CONFIG).unlink()
    with pytest.raises(UsageError, match=r"config\.json"):
        LaIARPredictor.from_pretrained(folder)


def test_arguments_are_checked(predictor: LaIARPredictor, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="licence"):
        predictor.save_pretrained(tmp_path / "a", licence="My licence\nx", data="d")
    with pytest.raises(UsageError, match="data"):
        predictor.save_pretrained(tmp_path / "a", licence="mit", data=" ")
    run = tmp_path / "run"
    shutil.copytree(WORLD, run)
    (run / "calibration.json").unlink()
    detector = predictor.explainer.job.detector.path
    assert detector is not None
    with pytest.raises(UsageError, match=r"calibration\.json: file not found"):
        save_folder(run, detector, tmp_path / "a", **ABOUT)
    assert not (tmp_path / "a").exists()
    with pytest.raises(UsageError, match="a folder without the run"):
        save_folder(WORLD, detector, WORLD, **ABOUT)


def test_model_card_contains_the_metrics(predictor: LaIARPredictor, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(WORLD, run)
    tree = {"split": "test", "map_official": 0.8765, "mar": None, "inverse_pairs": {}}
    (run / "metrics.json").write_text(json.dumps(tree))
    detector = predictor.explainer.job.detector.path
    assert detector is not None
    save_folder(run, detector, tmp_path / "a", **ABOUT, limits="It has never seen a cat.")
    text = (tmp_path / "a" / README).read_text()
    assert "| official mAP | 0.8765 |" in text
    assert "mAR" not in text
    assert "It has never seen a cat." in text


def test_repositories_of_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: dict[str, Any] = {"revision": "v1", "local_files_only": True}
    with pytest.raises(UsageError, match="an existing folder or USER/NAME"):
        find_folder("none", **given)
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda n, *r: None if n == "huggingface_hub" else found(n, *r)
    )
    with pytest.raises(UsageError, match="pip install huggingface_hub"):
        find_folder("some/network", **given)
    asked: list[tuple[str, dict[str, Any]]] = []

    def snapshot_download(name: str, **options: Any) -> str:
        asked.append((name, options))
        if name == "not/there":
            raise RuntimeError("not in the cache\nmore")
        return str(tmp_path)

    fake = types.ModuleType("huggingface_hub")
    fake.snapshot_download = snapshot_download  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "huggingface_hub", fake)
    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    assert find_folder("some/network", **given) == tmp_path
    assert asked[0][0] == "some/network"
    assert asked[0][1]["local_files_only"]
    assert asked[0][1]["revision"] == "v1"
    assert {*asked[0][1]["allow_patterns"]} == {*FILES, CONFIG}
    with pytest.raises(UsageError, match="not in the cache; set local_files_only=False"):
        find_folder("not/there", **given)
