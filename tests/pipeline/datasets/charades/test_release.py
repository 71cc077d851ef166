import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.ids import is_safe_id
from pipeline.datasets.restricted_pickle import load_restricted
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.errors import UsageError
from tests.pipeline.dataset_maker import (
    HEADER,
    csv_row,
    object_entry,
    person_entry,
    write_annotations,
    write_dataset,
)

VOCABULARY = load_vocabulary("action_genome")


def one_frame(tmp_path: Path, entry: dict[str, Any], rows: list[str] | None = None) -> Any:
    key = "A0001.mp4/000003.png"
    folder = write_annotations(
        tmp_path / "ann", {key: [entry]}, {key: person_entry()}, rows or [csv_row("A0001", "")]
    )
    return read_annotations([folder], VOCABULARY)


def test_released_dataset_is_read(tmp_path: Path) -> None:
    _, folder = write_dataset(tmp_path)
    read = read_annotations([folder], VOCABULARY)
    assert not read.errors
    assert read.classes[3] == ("c003", "doing thing 3")
    clip = read.videos["A0001"]
    assert (clip.split, clip.subject, clip.scene, clip.length_s) == (
        "train",
        "S001",
        "Kitchen",
        1.6,
    )
    assert clip.actions == ((1, 0.0, 1.0), (3, 0.5, 1.6))  # the end is clipped to the length
    assert [frame.frame_index for frame in clip.frames] == [2, 10, 29]
    frame = clip.frames[0]
    assert frame.boxes.tolist() == [[2, 4, 40, 47], [10, 8, 30, 24]]  # released as xyxy and as xywh
    assert frame.labels.tolist() == [0, VOCABULARY.object_index("cupglassbottle")]
    named = {VOCABULARY.predicates[r] for r in frame.predicates[1].nonzero()[:, 0].tolist()}
    assert named == {"looking_at", "in_front_of", "beneath", "holding"}
    assert not bool(frame.predicates[0].any())
    assert frame.image_size == (48, 64)
    assert read.videos["B0002"].actions == ()


def test_reversed_interval_keeps_its_label(tmp_path: Path) -> None:
    read = one_frame(tmp_path, object_entry(), [csv_row("A0001", "c004 18.00 10.00", "30.0")])
    assert read.videos["A0001"].actions == ((4, 10.0, 18.0),)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"class": "spaceship"}, "spaceship"),
        ({"contacting_relationship": ["orbiting"]}, "orbiting"),
        ({"contacting_relationship": ["looking_at"]}, "group contacting"),
        ({"bbox": (1.0, 2.0, -3.0, 4.0)}, "x1 <= x2"),
        ({"bbox": (1.0, float("nan"), 3.0, 4.0)}, "finite"),
        ({"bbox": None}, "A0001"),
    ],
)
def test_invalid_object_affects_only_its_video(
    tmp_path: Path, entry: dict[str, Any], says: str
) -> None:
    rows = [csv_row("A0001", "c002 0.0 1.0"), csv_row("C0003", "c000 0.0 1.0")]
    read = one_frame(tmp_path, object_entry(**entry), rows)
    assert says in read.errors["A0001"]
    assert "A0001" not in read.videos
    assert read.faulty["A0001"].labels() == {"A0001": (2,)}
    assert read.videos["C0003"].actions == ((0, 0.0, 1.0),)


@pytest.mark.parametrize(
    "actions", ["c009 0 1", "c001 0", "c001 x 1", "c001 -1 2", "c001 nan 2", "c001 0 1e99"]
)
def test_invalid_row_affects_only_its_video(tmp_path: Path, actions: str) -> None:
    rows = [csv_row("A0001", actions), csv_row("C0003", "")]
    read = one_frame(tmp_path, object_entry(), rows)
    assert read.errors["A0001"].startswith("Charades_v1_train.csv:2: ")
    assert not read.faulty
    assert set(read.videos) == {"C0003"}


def test_missing_and_duplicate_files_are_reported(tmp_path: Path) -> None:
    _, folder = write_dataset(tmp_path)
    with pytest.raises(UsageError, match="folder not found"):
        read_annotations([tmp_path / "absent"], VOCABULARY)
    with pytest.raises(UsageError, match=r"found none"):
        read_annotations([tmp_path / "videos"], VOCABULARY)
    (folder / "again").mkdir()
    (folder / "again" / "person_bbox.pkl").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"one person_bbox\.pkl expected"):
        read_annotations([folder], VOCABULARY)
    (folder / "again" / "person_bbox.pkl").unlink()
    (folder / "person_bbox.pkl").unlink()
    with pytest.raises(UsageError, match=r"person_bbox\.pkl expected beside"):
        read_annotations([folder], VOCABULARY)
    (folder / "object_bbox_and_relationship.pkl").unlink()
    assert read_annotations([folder], VOCABULARY).videos["A0001"].frames == ()
    table = folder / "Charades_v1_train.csv"
    table.write_text(table.read_text().replace(HEADER, HEADER.replace("length", "duration")))
    with pytest.raises(UsageError, match="'length' is missing"):
        read_annotations([folder], VOCABULARY)


def test_fingerprint_depends_on_the_content_but_not_on_the_folder(tmp_path: Path) -> None:
    one = one_frame(tmp_path / "a", object_entry()).videos["A0001"].fingerprint()
    two = one_frame(tmp_path / "b", object_entry()).videos["A0001"].fingerprint()
    moved = object_entry(bbox=(11.0, 8.0, 20.0, 16.0))
    assert one == two
    assert one != one_frame(tmp_path / "c", moved).videos["A0001"].fingerprint()


class _Bomb:
    def __init__(self, canary: str) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, (f"touch {self.canary}",))


@pytest.mark.parametrize("protocol", range(6))
def test_malicious_pickle_is_rejected_without_running_its_code(
    tmp_path: Path, protocol: int
) -> None:
    canary = tmp_path / "canary"
    path = tmp_path / "person_bbox.pkl"
    path.write_bytes(pickle.dumps({"A": [_Bomb(str(canary))]}, protocol))
    with pytest.raises(UsageError, match=r"person_bbox\.pkl: .*system"):
        load_restricted(path)
    assert not canary.exists()


@pytest.mark.parametrize("protocol", range(6))
def test_pickled_plain_values_and_arrays_are_read(tmp_path: Path, protocol: int) -> None:
    tree = {
        "a": [1, 2.5, None, True, "text", b"bytes", (1, 2), {3}],
        "b": np.arange(6, dtype=np.float32).reshape(2, 3),
        "c": np.float64(2.0),
        "d": np.asfortranarray(np.eye(3)),
    }
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(tree, protocol))
    got = load_restricted(path)
    assert got["a"] == tree["a"]
    assert got["c"] == 2.0
    for key in ("b", "d"):
        np.testing.assert_array_equal(got[key], tree[key])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        pickle.dumps({"a": 1})[:-3],
        pickle.dumps(np.array([{}], dtype=object)),
        pickle.dumps(Path("x")),
        b"cbuiltins\neval\n(S'1'\ntR.",
    ],
)
def test_invalid_pickles_are_rejected(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"a\.pkl"):
        load_restricted(path)


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("46GP8", True),
        ("a.b-c_d", True),
        ("", False),
        ("../x", False),
        (".a", False),
        ("a b", False),
        ("a\n", False),
        ("a\0", False),
        ("x" * 129, False),
        ("CON", False),
        ("-rf", False),
    ],
)
def test_safe_ids_are_recognized(text: str, safe: bool) -> None:
    assert is_safe_id(text) is safe
