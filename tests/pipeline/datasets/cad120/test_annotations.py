from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.datasets import Annotations, ReadOptions, read_dataset
from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary
from pipeline.errors import UsageError
from tests.pipeline.datasets.cad120.release_maker import (
    NUM_FRAMES,
    video_tree,
    write_release,
    write_video,
)

VOCABULARY = load_vocabulary("cad120")
KINDS = ("hand", "head", "state")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_release(tmp_path / "release")


def read(root: Path, *pairs: str, occluded: bool = False, frames: int = 100) -> Annotations:
    return read_dataset("cad120", [root], VOCABULARY, ReadOptions(pairs, occluded, frames))


def triplets(found: Annotations, video: str, index: int) -> set[tuple[str, str, str]]:
    """Return (subject, object, predicate) of the pairs of a frame."""
    frame = next(f for f in found.videos[video].frames if f.frame_index == index)
    assert frame.pairs is not None
    names = [VOCABULARY.objects[label] for label in frame.labels.tolist()]
    return {
        (names[first], names[second], VOCABULARY.predicates[r])
        for (first, second), said in zip(frame.pairs.tolist(), frame.predicates, strict=True)
        for r in said.nonzero()[:, 0].tolist()
    }


def test_videos_have_clips_subjects_folds_and_files(root: Path) -> None:
    found = read(root, "hand")
    assert [name for _, name in found.classes] == ["null", "open", "pick", "drink"]
    assert found.folds == {"1": ("Subject1",), "2": ("Subject2",)}
    assert found.errors == {}
    assert {v: (a.subject, a.scene, a.num_frames) for v, a in found.videos.items()} == {
        "0001": ("Subject1", "drinking", NUM_FRAMES),
        "0002": ("Subject1", "opening", NUM_FRAMES),
        "0003": ("Subject2", "drinking", NUM_FRAMES),
    }
    assert found.videos["0003"].labels() == {"0003_1_4": (0,), "0003_2_9": (2,)}
    assert {path.stem for path in found.files.values()} == found.videos.keys()


def test_pairs_and_predicates_of_each_kind(root: Path) -> None:
    found = read(root, *KINDS)
    assert triplets(found, "0001", 0) == {
        ("hand", "cup", "not_holding"),
        ("head", "cup", "apart"),
    }
    assert triplets(found, "0001", 9) == {
        ("hand", "cup", "holding"),
        ("head", "cup", "contacting"),
    }
    assert triplets(found, "0002", 6) == {
        ("hand", "medicine-box", "holding"),
        ("medicine-box", "medicine-box", "open"),
    }
    assert triplets(read(root, "state"), "0002", 5) == {("medicine-box", "medicine-box", "closed")}


def test_occluded_pairs_are_read_only_on_request(root: Path) -> None:
    """The hand is invisible in the frames 4 and 5."""
    assert triplets(read(root, *KINDS), "0001", 5) == {("head", "cup", "apart")}
    found = read(root, *KINDS, occluded=True)
    assert triplets(found, "0001", 5) == {("head", "cup", "apart"), ("hand", "cup", "holding")}
    frame = found.videos["0001"].frames[5]
    hand = frame.labels.tolist().index(VOCABULARY.object_index("hand"))
    assert frame.boxes[hand].tolist() == [0, 0, 0, 0]


def test_boxes_have_corners_and_instances(root: Path) -> None:
    frame = read(root, "hand").videos["0001"].frames[2]
    names = [VOCABULARY.objects[label] for label in frame.labels.tolist()]
    assert names == ["hand", "cup"]
    assert frame.boxes.tolist() == [[3, 10, 23, 40], [4, 10, 24, 40]]  # x grows by 1 per frame
    assert frame.instances is not None
    assert len(set(frame.instances.tolist())) == 2
    assert frame.is_person_partial


def test_person_is_the_union_of_head_and_hands_and_holds_what_a_hand_holds(root: Path) -> None:
    tree = video_tree("0001")
    tree["locations"].append({"obj_id": "hand_2", "loc_list": [[100, 50, 10, 20]] * NUM_FRAMES})
    tree["relations"].append({"obj_ids": ["hand_2", "cup_1"], "rel_list": ["holding"] * NUM_FRAMES})
    write_video(root, "0001", tree)
    found = read(root, "person")
    assert triplets(found, "0001", 0) == {("person", "cup", "holding"), ("person", "cup", "apart")}
    frame = found.videos["0001"].frames[0]
    assert frame.labels.tolist() == [0, VOCABULARY.object_index("cup")]
    assert frame.boxes[0].tolist() == [0, 10, 110, 70]
    without = found.videos["0001"].frames[4]  # hand_1 is invisible
    assert without.boxes[0].tolist() == [4, 10, 110, 70]


def test_frames_are_the_centres_of_segments_of_each_clip(root: Path) -> None:
    frames = read(root, "hand", frames=2).videos["0001"].frames
    assert [frame.frame_index for frame in frames] == [2, 6, 7, 10]  # of 0-7 and of 6-11
    assert len(read(root, "hand").videos["0003"].frames) == 9


def test_video_with_a_fault_is_an_error_of_this_video(root: Path) -> None:
    write_video(root, "0002", "{")
    found = read(root, "hand")
    assert "JSON expected" in found.errors["0002"]
    assert found.videos.keys() == {"0001", "0003"}
    assert found.files.keys() == {"0001", "0002", "0003"}


def test_vocabulary_without_the_names_is_rejected(root: Path) -> None:
    other = replace(VOCABULARY, objects=("person", *VOCABULARY.objects[3:]), pairs={}, aliases={})
    with pytest.raises(UsageError, match=r"a vocabulary of CAD-120 expected: object class: .*hand"):
        read_dataset("cad120", [root], other, ReadOptions())
    few = Vocabulary(VOCABULARY.objects, {"hand": ("holding", "not_holding")})
    with pytest.raises(UsageError, match="a vocabulary of CAD-120 expected: predicate: "):
        read_dataset("cad120", [root], few, ReadOptions())


def test_annotation_is_a_function_of_the_files(root: Path) -> None:
    one, two = read(root, *KINDS), read(root, *KINDS)
    for video_id, known in one.videos.items():
        assert known.fingerprint() == two.videos[video_id].fingerprint()
    assert one.videos["0001"].fingerprint() != read(root, "hand").videos["0001"].fingerprint()
    assert torch.equal(one.videos["0001"].frames[0].boxes, two.videos["0001"].frames[0].boxes)
