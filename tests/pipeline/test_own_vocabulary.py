"""Own objects, predicates and classes from the annotations to the explanation."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pipeline import evaluate, extract, predict, train
from pipeline.cache.folder import read_cache_info
from pipeline.cache.reader import load_clip
from pipeline.datasets import vocabulary
from pipeline.weights.run_folder import read_card
from tests.pipeline.dataset_maker import person_entry
from tests.pipeline.video_maker import write_clip

OWN = """
objects: [person, screwdriver, circuit board, 7]
predicates:
  gaze: [at, no]
  grip: [on, off]
"""
CLASSES = "c000\tTightening a screw\nc001\tLoosening a screw\nc002\tSoldering\n\n"
#: Classes of each video. Videos of TEST form the test split.
TRAIN = {"W1": (0,), "W2": (1, 2), "W3": (2,), "W4": (0, 2), "W5": (1,), "W6": (0,)}
TEST = {"W7": (1, 2), "W8": (2,), "W9": (0, 1)}
SMALL = (
    "boxes=ground-truth", "relations=ground-truth", "vocabulary=own", "inverse_pairs=null",
    "detection.weights=random", "detection.preset=action-genome", "detection.depth=26",
    "detection.width=4", "detection.short_side=48", "decode.workers=0", "device=cpu",
    "model.dim=16", "model.heads=2", "model.layers=1", "model.num_frames=4",
    "model.part_width=8", "model.union_width=4", "model.class_embeddings=true",
    "model.temporal_selection=false", "model.spatial_selection=false",
    "train.batch_size=4", "train.epochs=1", "train.reversed_share=0",
    "train.validation_fraction=0.3", "train.min_label_tokens=1",
)  # fmt: skip


@dataclass(frozen=True)
class Own:
    """Folders of the dataset, the cache and two networks."""

    videos: Path
    annotations: Path
    cache: Path
    run: Path
    part: Path


def entry(name: str, grip: str, split: str) -> dict[str, Any]:
    return {
        "class": name,
        "bbox": (10.0, 8.0, 20.0, 16.0),
        "visible": True,
        "gaze_relationship": ["no"],
        "grip_relationship": [grip],
        "metadata": {"set": split},
    }


def write_annotations(folder: Path) -> None:
    """Write annotations as a spreadsheet program and a script of a user write them."""
    folder.mkdir()
    objects: dict[str, Any] = {}
    persons: dict[str, Any] = {}
    for split, labels in (("train", TRAIN), ("test", TEST)):
        rows = ["id;length;actions"]
        for video_id, classes in labels.items():
            actions = ";".join(f"c{c:03d} 0.00 1.00" for c in classes)
            rows.append(f'{video_id};1.60;"{actions}"')
            for number in (2, 12, 22, 32):
                key = f"{video_id}.mp4/{number:06d}.png"
                grip = "on" if number < 20 else "off"
                objects[key] = [entry("screwdriver", grip, split), entry("7", "off", split)]
                persons[key] = person_entry()
        text = "\r\n".join([*rows, ""])
        (folder / f"Charades_v1_{split}.csv").write_bytes(text.encode("utf-8-sig"))
    (folder / "Charades_v1_classes.txt").write_bytes(CLASSES.encode("utf-16"))
    (folder / "object_bbox_and_relationship.pkl").write_bytes(pickle.dumps(objects))
    (folder / "person_bbox.pkl").write_bytes(pickle.dumps(persons))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    root = tmp_path_factory.mktemp("own")
    made = Own(*(root / name for name in ("videos", "annotations", "cache", "run", "part")))
    made.videos.mkdir()
    for video_id in (*TRAIN, *TEST):
        write_clip(made.videos / f"{video_id}.mp4")
    write_annotations(made.annotations)
    (root / "own.yaml").write_text(OWN)
    data = ["--videos", str(made.videos), "--annotations", str(made.annotations)]
    cache = ["--cache", str(made.cache)]
    config = ["--config", "configs/world.yaml", *SMALL]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vocabulary, "VOCABULARY_FOLDER", root)
        assert extract.main([*config, *data, *cache]) == 0
        assert train.main([*config, *cache, "--run", str(made.run)]) == 0
        chosen = ["--run", str(made.part), "classes=[c001,c002]"]
        assert train.main([*config, *cache, *chosen]) == 0
        yield made


def explained(own: Own, run: Path, out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Explain W9 and return its explanation and its row of `predictions.jsonl`."""
    video = str(own.videos / "W9.mp4")
    words = ["--annotations", str(own.annotations), "--export", "charades", "predict.top=3"]
    assert predict.main([video, "--run", str(run), "--out", str(out), *words]) == 0
    tree = json.loads((out / "W9" / "explanation.json").read_text())
    return tree, json.loads((out / "predictions.jsonl").read_text())


def test_cache_has_the_own_names_and_labels(own: Own) -> None:
    info = read_cache_info(own.cache)
    assert info.objects == ("person", "screwdriver", "circuit board", "7")
    assert info.predicate_groups == {"gaze": ("at", "no"), "grip": ("on", "off")}
    assert [name for _, name in info.classes] == [
        "Tightening a screw",
        "Loosening a screw",
        "Soldering",
    ]
    clip = load_clip(own.cache / "W2.safetensors")
    assert clip.header.split == "train"
    assert clip.header.actions == ((1, 0.0, 1.0), (2, 0.0, 1.0))
    assert clip.labels.tolist() == [0, 1, 3] * 4
    first, last = ([0.0, 1, 1, 0], [0.0, 1, 0, 1]), ([0.0, 1, 0, 1], [0.0, 1, 0, 1])
    assert clip.predicates["ground-truth"].tolist() == [*first, *first, *last, *last]


def test_evaluation_lists_the_own_classes(own: Own, tmp_path: Path) -> None:
    words = ["--run", str(own.run), "--cache", str(own.cache), "--out", str(tmp_path)]
    assert evaluate.main(words) == 0
    table = pd.read_csv(tmp_path / "per_class_ap.csv")
    assert table["name"].tolist() == ["Tightening a screw", "Loosening a screw", "Soldering"]
    assert table["positives"].tolist() == [1, 2, 2]
    tree = json.loads((tmp_path / "metrics.json").read_text())
    assert (tree["videos"], tree["classes"]) == (3, 3)
    assert "inverse_pairs" not in tree


def test_explanation_uses_the_own_names(own: Own, tmp_path: Path) -> None:
    tree, row = explained(own, own.run, tmp_path)
    assert {token["object"]["class"] for token in tree["tokens"]} == {"screwdriver", "7"}
    named = {
        (name["group"], name["predicate"]) for token in tree["tokens"] for name in token["names"]
    }
    assert {group for group, _ in named} == {"gaze", "grip"}
    assert {p for _, p in named} <= {"at", "no", "on", "off", None}
    assert {p for _, p in named} - {None}
    names = {"Tightening a screw", "Loosening a screw", "Soldering"}
    assert {p["name"] for p in tree["predictions"]} == names
    assert all(p["name"].lower() in p["sentence"].lower() for p in tree["predictions"])
    assert len(row["scores"]) == 3
    assert [label["name"] for label in tree["video"]["labels"]] == [
        "Tightening a screw",
        "Loosening a screw",
    ]


def test_network_for_some_classes_explains_only_these(own: Own, tmp_path: Path) -> None:
    card = read_card(own.part)
    assert card.classes == (("c001", "Loosening a screw"), ("c002", "Soldering"))
    judged = tmp_path / "judged"
    words = ["--run", str(own.part), "--cache", str(own.cache), "--out", str(judged)]
    assert evaluate.main(words) == 0
    table = pd.read_csv(judged / "per_class_ap.csv")
    assert (table["name"].tolist(), table["positives"].tolist()) == (
        ["Loosening a screw", "Soldering"],
        [2, 2],
    )
    tree, row = explained(own, own.part, tmp_path / "out")
    assert {p["name"] for p in tree["predictions"]} == {"Loosening a screw", "Soldering"}
    assert [label["name"] for label in tree["video"]["labels"]] == ["Loosening a screw"]
    assert len(row["scores"]) == 2
    exported = (tmp_path / "out/exports/charades_classes.txt").read_text()
    assert exported == "c001 Loosening a screw\nc002 Soldering\n"
