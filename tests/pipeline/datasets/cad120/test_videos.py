import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.cad120 import videos
from pipeline.datasets.cad120.videos import read_video
from tests.pipeline.datasets.cad120.release_maker import (
    NUM_FRAMES,
    small_knowledge,
    video_tree,
    write_video,
)

Tree = dict[str, Any]


def read(folder: Path, tree: Any, video_id: str = "0001") -> videos.VideoAnnotation:
    return read_video(write_video(folder, video_id, tree), small_knowledge(folder))


def test_boxes_and_relations_are_read_as_released(tmp_path: Path) -> None:
    found = read(tmp_path, video_tree("0001"))
    assert (found.video_id, found.subject, found.activity) == ("0001", "Subject1", "drinking")
    assert found.num_frames == NUM_FRAMES
    assert found.objects == ("head_1", "hand_1", "cup_1")
    assert found.classes == ("head", "hand", "cup")
    assert found.boxes.shape == (3, NUM_FRAMES, 4)
    assert found.boxes.dtype == np.float32
    assert found.boxes[2, 3].tolist() == [5, 10, 20, 30]
    assert found.boxes[1, 5].tolist() == [700, 800, -60, -70]
    assert found.attributes == {}
    assert {pair: states.tolist() for pair, states in found.relations.items()} == {
        (1, 2): [1] * 5 + [0] * 7,
        (0, 2): [3] * 9 + [2] * 3,
    }


def test_attributes_are_read_as_released(tmp_path: Path) -> None:
    found = read(tmp_path, video_tree("0002"), "0002")
    assert found.classes[2] == "medicine-box"
    assert {row: states.tolist() for row, states in found.attributes.items()} == {
        2: [0] * 6 + [1] * 6
    }


def test_instance_is_visible_where_its_box_has_an_area(tmp_path: Path) -> None:
    tree = video_tree("0001")
    tree["locations"][0]["loc_list"][:3] = [[1, 1, 0, 5], [1, 1, 5, 0], [1, 1, -5, 5]]
    found = read(tmp_path, tree)
    assert np.argwhere(~found.visible).tolist() == [[0, 0], [0, 1], [0, 2], [1, 4], [1, 5]]


def change(*keys: Any, to: Any) -> Callable[[Tree], None]:
    """Return a function that replaces a value in a tree."""

    def apply(tree: Any) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        tree[keys[-1]] = to

    return apply


def remove(*keys: Any) -> Callable[[Tree], None]:
    """Return a function that removes a value from a tree."""

    def apply(tree: Any) -> None:
        for key in keys[:-1]:
            tree = tree[key]
        del tree[keys[-1]]

    return apply


def repeat(key: str) -> Callable[[Tree], None]:
    """Return a function that repeats the first entry of a list."""

    def apply(tree: Any) -> None:
        tree[key].append(tree[key][0])

    return apply


BOX = ("locations", 1, "loc_list", 3)
FAULTS = [
    (remove("person_id"), "top level: person_id expected, not found"),
    (change("person_id", to=1), "top level: person_id: a string expected, got int"),
    (change("person_id", to="Subject9"), "person_id: 'Subject1' expected .* got 'Subject9'"),
    (change("video_label", to="eating"), "video_label: 'opening' expected .* got 'eating'"),
    (change("video_id", to="0001"), "video_id: '0002' expected as in the path, got '0001'"),
    (remove("locations"), "top level: locations expected, not found"),
    (change("locations", to={}), "top level: locations: a list expected, got dict"),
    (change("locations", to=[]), "locations: an instance with a box in at least one frame"),
    (change("locations", 0, to=None), "locations: a JSON object expected, got NoneType"),
    (remove("locations", 0, "obj_id"), "locations: obj_id expected, not found"),
    (remove("locations", 1, "loc_list"), "hand_1: loc_list expected, not found"),
    (repeat("locations"), "locations: one entry per instance expected, got two of head_1"),
    (change("locations", 0, "obj_id", to="spoon_1"), "hand, head, cup, .* got 'spoon_1'"),
    (change("locations", 0, "obj_id", to="head"), "instance <class>_<number> .* got 'head'"),
    (change("locations", 0, "obj_id", to="head_x"), "instance <class>_<number> .* got 'head_x'"),
    (change(*BOX, to=[1, 2, 3]), r"hand_1: loc_list: boxes \[x, y, width, height\] of numbers"),
    (change(*BOX, to=None), "hand_1: loc_list: boxes .* of numbers expected"),
    (change(*BOX, 0, to="7"), "hand_1: loc_list: boxes .* of numbers expected"),
    (change(*BOX, 0, to=True), "hand_1: loc_list: boxes .* of numbers expected"),
    (change(*BOX, 0, to=float("nan")), "finite numbers expected, got NaN"),
    (change(*BOX, 0, to=float("-inf")), "finite numbers expected, got -Infinity"),
    (change(*BOX, 0, to=10**400), "hand_1: loc_list: numbers up to 1000000 pixels expected"),
    (change(*BOX, 2, to=-1e7), "hand_1: loc_list: numbers up to 1000000 pixels expected"),
    (remove(*BOX), "hand_1: loc_list: .* 12 frames of the first instance expected, got 11"),
    (change("locations", 0, "loc_list", to=[]), "an instance with a box in at least one frame"),
    (change("attributes", 0, to=3), "attributes: a JSON object expected, got int"),
    (
        repeat("attributes"),
        "attributes: one entry per instance expected, got two of medicine-box_1",
    ),
    (change("attributes", 0, "obj_id", to="cup_7"), "attributes: an instance of locations .*cup_7"),
    (change("attributes", 0, "obj_id", to="hand_1"), "an instance of medicine-box .* got hand_1"),
    (change("attributes", 0, "attr_list", 2, to="ajar"), "closed, open .* 'ajar' in frame 3"),
    (change("attributes", 0, "attr_list", 2, to=[]), "closed, open .* got list in frame 3"),
    (remove("attributes", 0, "attr_list", 0), "medicine-box_1: attr_list: .* 12 .* got 11"),
    (change("attributes", 0, "attr_list", to="open"), "attr_list: a list expected, got str"),
    (repeat("relations"), "one entry per pair expected, got two of hand_1, medicine-box_1"),
    (change("relations", 0, "obj_ids", to="hand_1"), "obj_ids: a list expected, got str"),
    (change("relations", 0, "obj_ids", to=["hand_1"]), "ids of a subject and an object expected"),
    (change("relations", 0, "obj_ids", to=[1, 2]), "ids of a subject and an object expected"),
    (change("relations", 0, "obj_ids", 1, to="cup_1"), "an instance of locations .* 'cup_1'"),
    (change("relations", 0, "obj_ids", 1, to="hand_1"), "a pair of .* got hand_1, hand_1"),
    (change("relations", 0, "rel_list", 11, to="near"), "holding, .* 'near' in frame 12"),
    (change("relations", 0, "rel_list", 11, to=None), "holding, .* got NoneType in frame 12"),
    (change("relations", 0, "rel_list", to=[]), "hand_1, medicine-box_1: rel_list: .* got 0"),
]


@pytest.mark.parametrize(("fault", "message"), FAULTS)
def test_faulty_file_is_rejected(
    tmp_path: Path, fault: Callable[[Tree], None], message: str
) -> None:
    tree = video_tree("0002")
    fault(tree)
    with pytest.raises(ValueError, match=rf"^Subject1/opening/0002\.json: .*{message}"):
        read(tmp_path, tree, "0002")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "JSON expected"),
        ('{"person_id": "Subject1"', "JSON expected"),
        ("[]", "top level: a JSON object expected, got list"),
        ("null", "top level: a JSON object expected, got NoneType"),
        (b"\xff\xfe\xfa", "JSON expected"),
        ("[" * 100_000, "JSON is nested too deeply"),
        ('{"person_id": "a", "person_id": "b"}', "each key of a JSON object only once"),
        ("9" * 10_000, "integer string conversion"),
    ],
)
def test_file_that_is_no_json_object_is_rejected(
    tmp_path: Path, text: str | bytes, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^Subject1/drinking/0001\.json: .*{message}"):
        read(tmp_path, text)


def test_number_beyond_the_range_of_floats_is_rejected(tmp_path: Path) -> None:
    text = json.dumps(video_tree("0001")).replace("[0, 0, 0, 0]", "[0, 0, 1e999, 0]")
    with pytest.raises(ValueError, match="hand_1: loc_list: numbers up to 1000000 pixels"):
        read(tmp_path, text)


def test_large_file_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps(video_tree("0001"))
    monkeypatch.setattr(videos, "MAX_BYTES", len(text))
    assert read(tmp_path, text).num_frames == NUM_FRAMES
    with pytest.raises(ValueError, match=f"at most {len(text)} bytes expected"):
        read(tmp_path, text + " ")


def test_path_that_is_no_regular_file_is_rejected(tmp_path: Path) -> None:
    path = write_video(tmp_path, "0001", "")
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"0001\.json: a regular file expected"):
        read_video(path, small_knowledge(tmp_path))


@st.composite
def trees(draw: st.DrawFn) -> Tree:
    """Return the tree of a video with random instances, boxes and states."""
    length = draw(st.integers(1, 5))

    def states(names: list[str]) -> list[str]:
        return draw(st.lists(st.sampled_from(names), min_size=length, max_size=length))

    number = st.one_of(st.integers(-900, 2000), st.floats(-900, 2000, width=32))
    box = st.lists(number, min_size=4, max_size=4)
    classes = st.sampled_from(["hand", "head", "cup", "medicine-box"])
    ids = st.builds(lambda c, n: f"{c}_{n}", classes, st.integers(0, 12))
    names = draw(st.lists(ids, min_size=1, max_size=5, unique=True))
    locations = [draw(st.lists(box, min_size=length, max_size=length)) for _ in names]
    boxes = [name for name in names if name.startswith("medicine-box")]
    hands = [name for name in names if name.startswith("hand")]
    pairs = [[hand, name] for hand in hands for name in boxes if draw(st.booleans())]
    return video_tree("0001") | {
        "locations": [{"obj_id": k, "loc_list": v} for k, v in zip(names, locations, strict=True)],
        "attributes": [{"obj_id": k, "attr_list": states(["open", "closed"])} for k in boxes],
        "relations": [
            {"obj_ids": k, "rel_list": states(["holding", "not_holding", "apart"])} for k in pairs
        ],
    }


@settings(max_examples=40, deadline=None)
@given(tree=trees())
def test_written_video_is_read_back(tmp_path_factory: pytest.TempPathFactory, tree: Tree) -> None:
    folder = tmp_path_factory.mktemp("video")
    found, knowledge = read(folder, tree), small_knowledge(folder)
    names = found.objects
    assert [
        {"obj_id": name, "loc_list": boxes.tolist()}
        for name, boxes in zip(names, found.boxes, strict=True)
    ] == tree["locations"]
    assert [
        {"obj_id": names[row], "attr_list": [knowledge.attributes[i] for i in states]}
        for row, states in found.attributes.items()
    ] == tree["attributes"]
    assert [
        {"obj_ids": [names[s], names[o]], "rel_list": [knowledge.relations[i] for i in states]}
        for (s, o), states in found.relations.items()
    ] == tree["relations"]
