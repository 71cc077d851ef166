"""Tests of the included network on freshly drawn videos of the synthetic world."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline import LaIARPredictor, evaluate, extract
from pipeline.datasets.video_files import list_videos
from pipeline.predictor import WORLD
from pipeline.weights.run_folder import read_card
from tools import faithfulness, synthesize
from tools.train_world import FILES

NUM = 20
CLIPS = os.environ.get("LAIAR_CLIPS")


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of a world with new test videos and of its cache with detected boxes."""
    root = tmp_path_factory.mktemp("fresh")
    out, labels, cache = root / "world", root / "labels", root / "cache"
    sizes = ["--train", "1", "--test", str(NUM), "--seed", "4242"]
    assert synthesize.main(["--out", str(out), *sizes]) == 0
    labels.mkdir()
    for path in (out / "annotations").glob("Charades_v1_*"):  # without annotated frames
        shutil.copy(path, labels)
    data = ["--videos", str(out / "videos"), "--annotations", str(labels), "--cache", str(cache)]
    words = ["relations=none", "detection.mode=folded"]
    assert extract.main(["--config", "configs/world.yaml", *data, *words]) == 0
    return out, cache


def test_run_is_small_and_complete() -> None:
    assert {path.name for path in WORLD.iterdir()} == {*FILES, "README.md"}
    assert sum(path.stat().st_size for path in WORLD.iterdir()) < 4 * 2**20
    card = read_card(WORLD)
    assert card.cache.settings.boxes == "detected"
    assert card.longest_s > 0


def test_scores_names_and_sentences_are_right_on_new_videos(
    drawn: tuple[Path, Path], tmp_path: Path
) -> None:
    world, cache = drawn
    places = ["--run", str(WORLD), "--cache", str(cache)]
    assert evaluate.main([*places, "--out", str(tmp_path / "scores"), "device=cpu"]) == 0
    metrics = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    annotations = ["--annotations", str(world / "annotations")]
    out = tmp_path / "faithfulness"
    words = ["--out", str(out), "--device", "cpu"]
    assert faithfulness.main([*places, *annotations, *words]) == 0
    found = json.loads((out / "faithfulness.json").read_text())["metrics"]
    assert metrics["map_official"] > 0.75
    assert metrics["inverse_pairs"]["accuracy"] > 0.75
    for group in ("attention", "spatial", "contacting"):
        assert found[f"name is true, {group}"]["mean"] > 0.8
    assert found["discard invariance"]["mean"] == 0
    assert found["sentence truth"]["mean"] > 0.6
    assert found["sentence truth"]["mean"] > found["sentence truth, random transition"]["mean"]


def test_world_clips_are_familiar(drawn: tuple[Path, Path]) -> None:
    predictor = LaIARPredictor.from_run(WORLD, "device=cpu")
    videos = sorted((drawn[0] / "videos").glob("*.mp4"))[:3]
    for explanation in predictor.predict(videos):
        codes = {warning.code for warning in explanation.warnings}
        assert not codes & {"UNFAMILIAR", "DETECTED_BOXES", "RANDOM_WEIGHTS", "NOT_STRICT"}
        assert any(prediction.is_present for prediction in explanation.predictions)


@pytest.mark.clips
@pytest.mark.skipif(not CLIPS, reason="LAIAR_CLIPS is not set")
def test_real_clips_are_unfamiliar() -> None:
    predictor = LaIARPredictor.from_run(WORLD, "device=cpu", "predict.window_s=0")
    for video in list_videos(Path(str(CLIPS))):
        explanation = predictor.predict(video.path)
        assert "UNFAMILIAR" in {warning.code for warning in explanation.warnings}, video.path.name
