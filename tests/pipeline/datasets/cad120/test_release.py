import os
from pathlib import Path

import pytest

from pipeline.datasets.cad120 import ClipLine, read_release
from pipeline.errors import UsageError
from tests.pipeline.datasets.cad120.release_maker import (
    CLIPS,
    VIDEOS,
    video_path,
    video_tree,
    write_release,
    write_video,
)


def test_release_is_read_with_all_parts(tmp_path: Path) -> None:
    write_release(tmp_path / "annotations")
    found = read_release([tmp_path])
    assert found.errors == {}
    assert found.folds == {"1": ("Subject1",), "2": ("Subject2",)}
    assert found.knowledge.actions == ("null", "open", "pick", "drink")
    assert {name: (v.subject, v.activity) for name, v in found.videos.items()} == VIDEOS
    assert found.clips == {
        "0001": (
            ClipLine("Subject1", "drinking", "0001", 0, 7, 2),
            ClipLine("Subject1", "drinking", "0001", 6, 11, 3),
        ),
        "0002": (ClipLine("Subject1", "opening", "0002", 0, 11, 1),),
        "0003": (
            ClipLine("Subject2", "drinking", "0003", 0, 3, 0),
            ClipLine("Subject2", "drinking", "0003", 1, 8, 2),
        ),
    }


def test_video_without_clips_is_read(tmp_path: Path) -> None:
    root = write_release(tmp_path / "annotations")
    (root / "video_clips.txt").write_text(CLIPS.splitlines()[0])
    found = read_release([root])
    assert found.errors == {}
    assert (set(found.videos), set(found.clips)) == (set(VIDEOS), {"0001"})


def test_fault_of_a_video_leaves_the_others_usable(tmp_path: Path) -> None:
    root = write_release(tmp_path)
    write_video(root, "0001", video_tree("0001") | {"relations": None})
    found = read_release([root])
    assert (set(found.videos), set(found.clips)) == ({"0002", "0003"}, {"0002", "0003"})
    assert found.errors == {
        "0001": "Subject1/drinking/0001.json: top level: relations: a list expected, got NoneType"
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Subject1, opening, 0002, 5, 13, null", "within the 12 .* got the frames 5 to 13"),
        ("Subject1, opening, 0002, 0, 3, null", "video_clips.txt:7: .* got 0 and 3"),
    ],
)
def test_faulty_span_is_an_error_of_its_video(tmp_path: Path, line: str, message: str) -> None:
    root = write_release(tmp_path)
    (root / "video_clips.txt").write_text(f"{CLIPS}{line}\n")
    found = read_release([root])
    assert (set(found.videos), set(found.clips)) == ({"0001", "0003"}, {"0001", "0003"})
    with pytest.raises(ValueError, match=message):
        raise ValueError(found.errors.pop("0002"))
    assert found.errors == {}


def test_span_that_ends_with_the_video_is_accepted(tmp_path: Path) -> None:
    root = write_release(tmp_path)
    (root / "video_clips.txt").write_text("Subject1, opening, 0002, 12, 12, null")
    assert read_release([root]).clips["0002"][0].last == 11


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("Subject1, drinking, 0009, 1, 2, null", "drinking/0009.json expected, found none"),
        ("Subject1, eating, 0009, 1, 2, null", "all/Subject1/eating/0009.json expected"),
    ],
)
def test_span_of_a_video_without_file_is_an_error(tmp_path: Path, line: str, message: str) -> None:
    root = write_release(tmp_path)
    (root / "video_clips.txt").write_text(f"{CLIPS}{line}\n")
    found = read_release([root])
    assert set(found.clips) == set(VIDEOS)
    assert list(found.errors) == ["0009"]
    assert message in found.errors["0009"]


def test_span_with_another_subject_than_the_file_is_an_error(tmp_path: Path) -> None:
    root = write_release(tmp_path)
    (root / "video_clips.txt").write_text("Subject2, opening, 0002, 1, 2, null")
    assert read_release([root]).errors == {
        "0002": "video_clips.txt: a file all/Subject2/opening/0002.json expected, found one of "
        "Subject1/opening"
    }


def test_unreadable_file_is_an_error_of_its_video(tmp_path: Path) -> None:
    root = write_release(tmp_path)
    video_path(root, "0002").unlink()
    video_path(root, "0002").mkdir()
    found = read_release([root])
    assert found.errors == {"0002": "Subject1/opening/0002.json: a regular file expected"}


def test_subject_of_a_list_without_videos_is_rejected(tmp_path: Path) -> None:
    root = write_release(tmp_path)
    (root / "splits" / "testlist01.txt").write_text("Subject1\nSubject3\n")
    with pytest.raises(UsageError, match=r"testlist01\.txt:2: a subject with videos .*'Subject3'"):
        read_release([root])


def test_faulty_videos_have_a_readable_file(tmp_path: Path) -> None:
    root = write_release(tmp_path)
    video_path(root, "0001").write_text("{")
    video_path(root, "0002").unlink()
    os.mkfifo(video_path(root, "0002"))
    (root / "video_clips.txt").write_text(f"{CLIPS}Subject1, drinking, 0009, 1, 2, null\n")
    found = read_release([root])
    assert found.errors.keys() == {"0001", "0002", "0009"}
    assert found.files == {
        "0001": video_path(root, "0001"),
        "0002": root / "video_clips.txt",
        "0003": video_path(root, "0003"),
        "0009": root / "video_clips.txt",
    }
