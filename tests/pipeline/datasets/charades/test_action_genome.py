import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.charades.action_genome import ActionGenome, read_action_genome
from pipeline.datasets.charades.locate import OBJECTS_PKL, PERSONS_PKL, locate
from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import UsageError
from tests.pipeline.dataset_maker import hidden_entry, object_entry, person_entry

VOCABULARY = load_vocabulary("action_genome")
KEY = "A0001.mp4/000003.png"
XYWH = np.array([[2.0, 4.0, 38.0, 43.0]])


def without(entry: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in entry.items() if name != key}


def read(
    folder: Path, objects: Any, persons: Mapping[str, Any], vocabulary: Vocabulary = VOCABULARY
) -> ActionGenome:
    folder.mkdir(exist_ok=True)
    (folder / OBJECTS_PKL).write_bytes(pickle.dumps(objects))
    (folder / PERSONS_PKL).write_bytes(pickle.dumps(persons))
    return read_action_genome(locate([folder]), vocabulary)


@pytest.mark.parametrize(
    ("changes", "box"),
    [
        ({}, [2, 4, 40, 47]),
        ({"bbox": XYWH, "bbox_mode": "xywh"}, [2, 4, 40, 47]),
        ({"bbox": XYWH[0].tolist(), "bbox_mode": "xywh"}, [2, 4, 40, 47]),
        ({"bbox": XYWH}, [2, 4, 38, 43]),
    ],
)
def test_person_box_is_read_in_its_mode(
    tmp_path: Path, changes: dict[str, Any], box: list[float]
) -> None:
    found = read(tmp_path, {KEY: [object_entry()]}, {KEY: person_entry() | changes})
    assert found.errors == {}
    assert found.videos["A0001"][0].boxes[0].tolist() == box


@pytest.mark.parametrize("rows", [[], np.zeros((0, 4), np.float32)])
def test_person_without_a_box_has_no_row(tmp_path: Path, rows: Any) -> None:
    found = read(tmp_path, {KEY: [object_entry()]}, {KEY: person_entry() | {"bbox": rows}})
    assert len(found.videos["A0001"][0].boxes) == 1


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (object_entry(bbox=None), "bbox: four numbers per box expected, got None (NoneType)"),
        (object_entry(bbox="1234"), "bbox: four numbers per box expected, got '1234' (str)"),
        (object_entry(bbox=(1.0, 2.0, 3.0)), "bbox: four numbers per box expected"),
        (object_entry(bbox=()), "bbox: one box of a visible object expected, got () (tuple)"),
        (without(object_entry(), "bbox"), "key 'bbox' expected, got the keys class,"),
        (without(object_entry(), "visible"), "key 'visible' expected"),
        (without(object_entry(), "class"), "key 'class' expected"),
        (
            without(object_entry(), "contacting_relationship"),
            "key 'contacting_relationship' expected",
        ),
        (object_entry(visible="False"), "visible: True or False expected, got 'False' (str)"),
        (object_entry(**{"class": 3}), "class: text expected, got 3 (int)"),
        (
            object_entry(contacting_relationship="holding"),
            "contacting_relationship: a list of names or None expected, got 'holding' (str)",
        ),
        (object_entry(spatial_relationship=[1]), "spatial_relationship: a list of names"),
        (object_entry(gaze_relationship=["at"]), "gaze_relationship: predicates of attention,"),
        (object_entry(metadata={"set": "val"}), "set: one of train, test expected, got 'val'"),
        (object_entry(metadata=["x"]), "a dict with the key 'set' expected, got ['x'] (list)"),
        ("box", "a dict with the key 'metadata' expected, got 'box' (str)"),
    ],
)
def test_malformed_object_is_reported_with_its_key(tmp_path: Path, entry: Any, says: str) -> None:
    other = "C0003.mp4/000001.png"
    objects = {KEY: [entry], other: [object_entry(), hidden_entry()]}
    found = read(tmp_path, objects, {KEY: person_entry(), other: person_entry()})
    assert found.errors["A0001"].startswith(f"{OBJECTS_PKL}: '{KEY}': ")
    assert says in found.errors["A0001"]
    assert set(found.videos) == {"C0003"}


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (person_entry() | {"bbox_mode": "cxcywh"}, "bbox_mode: one of xyxy, xywh expected"),
        (person_entry() | {"bbox_mode": 1}, "bbox_mode: one of xyxy, xywh expected, got 1 (int)"),
        (person_entry() | {"bbox": None}, "bbox: four numbers per box expected, got None"),
        (without(person_entry(), "bbox"), "key 'bbox' expected"),
        (person_entry() | {"bbox_size": "64x48"}, "bbox_size: (width, height) in pixels expected"),
        (person_entry() | {"bbox_size": (0, 48)}, "bbox_size: (width, height) in pixels expected"),
        ([1, 2], "a dict with the key 'bbox_mode' expected, got [1, 2] (list)"),
    ],
)
def test_malformed_person_is_reported_with_its_key(tmp_path: Path, entry: Any, says: str) -> None:
    found = read(tmp_path, {KEY: [object_entry()]}, {KEY: entry})
    assert found.errors["A0001"].startswith(f"{PERSONS_PKL}: '{KEY}': ")
    assert says in found.errors["A0001"]


def test_frame_without_a_list_of_objects_is_reported(tmp_path: Path) -> None:
    found = read(tmp_path, {KEY: object_entry()}, {KEY: person_entry()})
    assert "a list of objects expected, got {" in found.errors["A0001"]


def test_frame_without_a_size_has_that_of_the_other_frames(tmp_path: Path) -> None:
    second = "A0001.mp4/000009.png"
    objects = {KEY: [object_entry()], second: [object_entry()]}
    frames = read(tmp_path, objects, {KEY: person_entry()}).videos["A0001"]
    assert [frame.image_size for frame in frames] == [(48, 64), (48, 64)]
    third = "A0001.mp4/000010.png"
    sizes = {KEY: person_entry(), third: person_entry((32, 24))}
    frames = read(tmp_path, objects, sizes).videos["A0001"]
    assert [frame.image_size for frame in frames] == [(48, 64), None, (24, 32)]


def test_relations_of_own_groups_are_read(tmp_path: Path) -> None:
    vocabulary = Vocabulary(("person", "cup/glass/bottle"), {"grip": ("on", "no"), "gaze": ("at",)})
    kept = {key: v for key, v in object_entry().items() if not key.endswith("_relationship")}
    entry = kept | {"grip_relationship": ["no"], "gaze_relationship": None}
    found = read(tmp_path, {KEY: [entry]}, {KEY: person_entry()}, vocabulary)
    predicates = found.videos["A0001"][0].predicates
    assert predicates.tolist() == [[False, False, False], [False, True, False]]


def test_filtered_release_is_found_under_its_own_name(tmp_path: Path) -> None:
    read(tmp_path, {KEY: [object_entry()]}, {KEY: person_entry()})
    name = "object_bbox_and_relationship_filtersmall.pkl"
    (tmp_path / OBJECTS_PKL).rename(tmp_path / name)
    assert len(read_annotations([tmp_path], VOCABULARY).videos["A0001"].frames) == 1
    (tmp_path / name).write_bytes(pickle.dumps({KEY: [object_entry(bbox=None)]}))
    assert read_annotations([tmp_path], VOCABULARY).errors["A0001"].startswith(f"{name}: ")
    (tmp_path / OBJECTS_PKL).write_bytes(pickle.dumps({}))
    with pytest.raises(UsageError, match=rf"one {OBJECTS_PKL} expected, found .*{name}"):
        read_annotations([tmp_path], VOCABULARY)
