"""Prediction of the clips of annotated videos, on a small release of CAD-120."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from PIL import Image

from pipeline import LaIARPredictor, evaluate, extract, predict, train
from pipeline.datasets import ReadOptions, read_dataset
from pipeline.datasets.spans import divide_into_spans
from pipeline.datasets.video_files import list_videos
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from tests.pipeline.datasets.cad120 import release_maker

SCHEMA = json.loads(Path("configs/schemas/explanation.schema.json").read_text())
SMALL = (
    "detection.weights=random", "detection.preset=action-genome", "detection.depth=26",
    "detection.width=4", "detection.short_side=48", "decode.workers=0", "decode.fps=15",
    "device=cpu", "fold=2", "inverse_pairs=null", "frames.num=6", "model.num_frames=4",
    "model.dim=16", "model.heads=2", "model.layers=1", "model.part_width=8",
    "model.union_width=4", "model.temporal_selection=false", "model.spatial_selection=false",
    "train.batch_size=2", "train.epochs=2", "train.validation_fraction=0",
    "train.min_label_tokens=1",
)  # fmt: skip
IDS = {"0001_1_8", "0001_7_12", "0002_1_12", "0003_1_4", "0003_2_9"}


@dataclass(frozen=True)
class Release:
    """Folders of the frames, the annotations, the cache and the network."""

    frames: Path
    annotations: Path
    cache: Path
    run: Path


def write_frames(folder: Path) -> None:
    """Write the frames of the release, in the folders of CAD-120."""
    draw = np.random.default_rng(0)
    for video_id, (subject, activity) in release_maker.VIDEOS.items():
        place = folder / f"{subject}_rgbd_images" / activity / video_id
        place.mkdir(parents=True)
        for number in range(1, release_maker.NUM_FRAMES + 1):
            pixels = draw.integers(0, 255, (48, 64, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"RGB_{number}.png")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    root = tmp_path_factory.mktemp("release")
    made = Release(*(root / name for name in ("frames", "annotations", "cache", "run")))
    write_frames(made.frames)
    release_maker.write_release(made.annotations)
    data = ["--videos", str(made.frames), "--annotations", str(made.annotations)]
    config = ["--config", "configs/cad120_world.yaml", "--cache", str(made.cache), *SMALL]
    assert extract.main([*config, *data]) == 0
    assert train.main([*config, "--run", str(made.run)]) == 0
    return made


def say(release: Release, out: Path, *words: str) -> int:
    places = ["--run", str(release.run), "--out", str(out)]
    return predict.main([str(release.frames), *places, *words])


def trees(out: Path) -> dict[str, dict[str, Any]]:
    found = {path.parent.name: json.loads(path.read_text()) for path in out.glob("*/expl*.json")}
    for tree in found.values():
        jsonschema.validate(tree, SCHEMA)
    return found


def test_clips_have_the_frames_of_their_span(release: Release) -> None:
    vocabulary = load_vocabulary("cad120")
    options = ReadOptions(("hand",), frames=6)
    read = read_dataset("cad120", [release.annotations], vocabulary, options)
    read.errors["0002"] = "bad"
    videos = list_videos(release.frames, dumped=True)
    entries, annotations = divide_into_spans([*videos, videos[0]], read, 6)
    assert [entry.video_id for entry in entries] == sorted(
        [*(IDS - {"0002_1_12"}), "0001_1_8", "0001_7_12", "0002"]
    )
    assert {entry.path.name for entry in entries} == {"0001", "0002", "0003"}
    clip = annotations.videos["0001_7_12"]
    # 1..8 has the segment centres 0, 2, 3, 4, 6 and 7, and 7..12 has all six frames.
    assert [frame.frame_index for frame in clip.frames] == [6, 7, 8, 9, 10, 11]
    assert [frame.frame_index for frame in annotations.videos["0003_1_4"].frames] == [0, 1, 2, 3]
    assert clip.labels() == {"0001_7_12": (3,)}


def test_each_clip_is_explained_as_it_is_evaluated(release: Release, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--annotations", str(release.annotations), "--format", "json,html"]
    assert say(release, out, *words) == 0
    found = trees(out)
    assert found.keys() == IDS
    spans = {name: [*map(int, name.split("_")[1:])] for name in IDS}
    for name, tree in found.items():
        first, last = spans[name]
        numbers = [row["frame_index"] + 1 for row in tree["sampling"]["frames"]]
        assert len(numbers) == 4
        assert all(first <= number <= last for number in numbers)
        assert tree["video"]["id"] == name
        assert tree["boxes"] == "ground-truth"
        kinds = {row["name"]: row["subject"] for row in tree["pairs"]}
        assert kinds == {"hand": "hand", "head": "head", "microwave": "microwave", "state": None}
        assert tree["people"] == {"chosen": None, "people": []}
        codes = {warning["code"] for warning in tree["warnings"]}
        assert not codes & {"NO_PERSON", "NO_OBJECT", "NO_PAIR", "ABSENT_PERSON", "SEVERAL_PEOPLE"}
    labels = {name: tree["video"]["labels"][0]["name"] for name, tree in found.items()}
    assert labels == {
        "0001_1_8": "pick",
        "0001_7_12": "drink",
        "0002_1_12": "open",
        "0003_1_4": "null",
        "0003_2_9": "pick",
    }
    rows = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    scores = {row["id"]: row["scores"] for row in rows}
    assert evaluate.main(["--run", str(release.run), "--cache", str(release.cache)]) == 0
    with np.load(release.run / "scores.npz") as file:
        for name, expected in zip(file["ids"].tolist(), file["scores"], strict=True):
            np.testing.assert_allclose(scores[name], expected, atol=1e-4)
    assert say(release, out, *words) == 0
    counts = json.loads((out / "run.json").read_text())["counts"]
    assert counts == {"found": 5, "done": 0, "skipped": 5, "failed": 0}


def test_limits_shards_and_faulty_videos(release: Release, tmp_path: Path) -> None:
    words = ["--annotations", str(release.annotations), "--format", "json"]
    assert say(release, tmp_path / "first", *words, "--limit", "2") == 0
    assert trees(tmp_path / "first").keys() == {"0001_1_8", "0001_7_12"}
    for part in ("1/2", "2/2"):
        assert say(release, tmp_path / "shards", *words, "--shard", part) == 0
    assert trees(tmp_path / "shards").keys() == IDS
    bad = release_maker.write_release(tmp_path / "bad")
    release_maker.write_video(bad, "0001", "{")
    out = tmp_path / "out"
    assert say(release, out, "--annotations", str(bad), "--format", "json") == 1
    assert trees(out).keys() == {name for name in IDS if not name.startswith("0001")}
    (failure,) = map(json.loads, (out / "failures.jsonl").read_text().splitlines())
    assert (failure["id"], failure["reason"]) == ("0001", "bad-annotation")


def test_video_without_annotations_is_one_item(release: Release, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert say(release, out, "--format", "json", "--limit", "1") == 0
    (tree,) = trees(out).values()
    assert (tree["video"]["id"], tree["boxes"], tree["video"]["labels"]) == (
        "0001",
        "detected",
        None,
    )
    assert "NO_PERSON" not in {warning["code"] for warning in tree["warnings"]}
    with pytest.raises(UsageError, match="--person: a network that pairs the person expected"):
        say(release, out, "--person", "1")


def test_python_api_explains_the_clips_of_a_video(release: Release) -> None:
    predictor = LaIARPredictor.from_run(release.run, annotations=[release.annotations])
    video = next(release.frames.rglob("0003"))
    with pytest.raises(UsageError, match="divides the video into 2 spans; use predict_spans"):
        predictor.predict(video)
    found = predictor.predict_spans(video)
    assert [row.video.id for row in found] == ["0003_1_4", "0003_2_9"]
