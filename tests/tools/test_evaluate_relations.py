"""Tests of the evaluated frames and the invalid arguments of `tools.evaluate_relations`."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline import extract
from pipeline.cache.folder import clip_path
from pipeline.cache.listing import list_clips
from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.errors import StageError, UsageError
from tests.conftest import CONFIG, World
from tests.pipeline.predictor_files import predictor_file
from tools import evaluate_relations


def measure(cache: Path, weights: Path, *words: str, into: Path | None = None) -> dict:
    path = into or weights.with_name("measured.json")
    given = ["--cache", str(cache), "--weights", str(weights), "--device", "cpu"]
    assert evaluate_relations.main([*given, *words, "--json", str(path)]) == 0
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def detected(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    cache = tmp_path_factory.mktemp("detected") / "cache"
    data = ["--videos", str(world.videos), "--annotations", str(world.annotations)]
    words = ["--config", CONFIG, *data, "--cache", str(cache), "frames.num=1", "device=cpu"]
    assert extract.main([*words, "decode.workers=0"]) == 0
    return cache


def test_only_frames_with_annotated_relations_are_evaluated(
    world: World,
    detected: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = predictor_file(tmp_path / "p.safetensors", 256, 64)
    asked = ["--mode", "sgdet", "--annotations", str(world.annotations)]
    read = evaluate_relations._annotated

    def measured(change: Callable[[dict, int], object]) -> dict:
        def reads(folders: Any, info: Any) -> Any:
            known = read(folders, info)
            for frames in known.values():
                change(frames, sorted(frames)[1])
            return known

        monkeypatch.setattr(evaluate_relations, "_annotated", reads)
        return measure(detected, weights, *asked)

    def forget(frames: dict, index: int) -> None:
        frames[index] = replace(frames[index], predicates=frames[index].predicates & False)

    without = measured(lambda frames, index: frames.pop(index))
    assert measured(forget) == without
    assert "annotated frames ignored" not in capsys.readouterr().out

    def move(frames: dict, index: int) -> None:
        frames[10**6] = replace(frames.pop(index), frame_index=10**6)

    assert measured(move) == without | {"frames_not_in_cache": without["videos"]}
    assert "3 annotated frames ignored" in capsys.readouterr().out
    with pytest.raises(StageError, match="3 videos have none in the cache"):
        measured(lambda frames, index: frames.clear())

    def enlarge(frames: dict, _index: int) -> None:
        for index, frame in frames.items():
            height, width = frame.image_size
            size, boxes = (2 * height, 2 * width), 2 * frame.boxes
            frames[index] = replace(frame, boxes=boxes, image_size=size)

    same = measured(lambda frames, index: None)
    assert same["results"]["ceiling"]["recall"]["no"]["100"] > 0
    assert measured(enlarge) == same


def test_frequency_baseline_requires_training_videos(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = Path(shutil.copytree(world.cache, tmp_path / "cache"))
    clips, _ = list_clips(cache)
    trained = {clip.video_id for clip in clips if clip.header.split == "train"}
    for video_id in trained:
        clip_path(cache, video_id).unlink()
    Manifest(cache).write({k: v for k, v in read_manifest(cache).items() if k not in trained})
    found = measure(cache, predictor_file(tmp_path / "p.safetensors", 128, 64), "--mode", "predcls")
    assert found["results"]["frequency"] is None
    assert found["results"]["predictor"]["recall"]["no"]["100"] == 1
    out = capsys.readouterr().out
    assert "no frequency baseline" in out
    assert "\nfrequency  " not in out


def test_weights_can_have_any_file_name(world: World, tmp_path: Path) -> None:
    weights = tmp_path / "${a}, [b]: null.safetensors"
    predictor_file(weights, 128, 64)
    assert measure(world.cache, weights, "--mode", "predcls")["videos"] == 3


@pytest.mark.parametrize("name", ["", "nowhere/found.json", "taken.json/found.json"])
def test_unwritable_result_path_is_rejected_before_the_evaluation(
    world: World, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taken.json").touch()
    weights = predictor_file(tmp_path / "p.safetensors", 128, 64)
    monkeypatch.setattr(evaluate_relations, "load_predictor", None)
    with pytest.raises(UsageError, match="--json: a file in a writable folder expected"):
        measure(world.cache, weights, "--mode", "predcls", into=tmp_path / name)


def test_annotations_are_rejected_in_predcls_and_sgcls(world: World, tmp_path: Path) -> None:
    weights = predictor_file(tmp_path / "p.safetensors", 128, 64)
    for mode in ("predcls", "sgcls"):
        words = ["--mode", mode, "--annotations", str(world.annotations)]
        with pytest.raises(UsageError, match=f"--mode {mode}: no --annotations expected"):
            measure(world.cache, weights, *words)
