"""Tests of the included network on freshly drawn videos of the synthetic world."""

import json
import os
import shutil
from pathlib import Path

import pytest

from pipeline import LaIARPredictor, evaluate, extract, predict
from pipeline.datasets.video_files import list_videos
from pipeline.explanation.explanation import Explanation
from pipeline.predictor import WORLD
from pipeline.weights.run_folder import RUN_FILES, read_card
from tools import faithfulness, synthesize

NUM = 12
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


@pytest.fixture(scope="module")
def explanations(drawn: tuple[Path, Path]) -> list[Explanation]:
    """Return the explanations of six videos of the world."""
    predictor = LaIARPredictor.from_run(WORLD, "device=cpu")
    videos = sorted((drawn[0] / "videos").glob("*.mp4"))[:6]
    return list(predictor.predict(videos))


def test_run_is_small_and_complete() -> None:
    assert {path.name for path in WORLD.iterdir()} == {*RUN_FILES, "README.md"}
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


def test_world_clips_are_familiar(explanations: list[Explanation]) -> None:
    for explanation in explanations:
        codes = {warning.code for warning in explanation.warnings}
        assert not codes & {"UNFAMILIAR", "DETECTED_BOXES", "RANDOM_WEIGHTS", "NOT_STRICT"}
        assert any(prediction.is_present for prediction in explanation.predictions)


def test_an_edit_that_undoes_a_change_has_the_score_of_the_reason(
    drawn: tuple[Path, Path], explanations: list[Explanation], tmp_path: Path
) -> None:
    differences, words = [], []
    for explanation in explanations:
        for row in explanation.predictions:
            part = row.reason
            if part.score_if_unchanged is None or part.from_ is None or part.to is None:
                continue
            edit = f"0-99 {part.object} {part.to}=>{part.from_}"
            changed = explanation.what_if(edit).edited
            assert changed is not None
            score = next(r.score for r in changed.predictions if r.class_id == row.class_id)
            differences.append(abs(score - part.score_if_unchanged))
            path = drawn[0] / "videos" / f"{explanation.video.id}.mp4"
            words = [str(path), "--edit", edit]
    # The edit also reaches other tracks of the object class, and names with several predicates.
    assert len(differences) >= 3
    assert sorted(differences)[len(differences) // 2] < 1e-5
    assert predict.main([*words, "--out", str(tmp_path), "device=cpu"]) == 0
    (written,) = tmp_path.glob("*/explanation.json")
    tree = json.loads(written.read_text())
    assert tree["edited"]["tokens"]
    assert tree["edited"]["edits"][0]["between_s"] == [0, 99]
    assert "What if" in written.with_name("report.html").read_text()


@pytest.mark.clips
@pytest.mark.skipif(not CLIPS, reason="LAIAR_CLIPS is not set")
def test_real_clips_are_unfamiliar() -> None:
    predictor = LaIARPredictor.from_run(WORLD, "device=cpu", "predict.window_s=0")
    for video in list_videos(Path(str(CLIPS))):
        explanation = predictor.predict(video.path)
        assert "UNFAMILIAR" in {warning.code for warning in explanation.warnings}, video.path.name
