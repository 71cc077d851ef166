import shutil
from pathlib import Path

import pytest

from pipeline.datasets.cad120 import files
from pipeline.datasets.cad120.files import find_root, find_videos, read_lines
from pipeline.errors import UsageError
from tests.pipeline.datasets.cad120.release_maker import VIDEOS, video_path, write_release


@pytest.mark.parametrize("depth", ["", "a", "a/b/annotations"])
def test_release_is_found_at_any_depth(tmp_path: Path, depth: str) -> None:
    root = write_release(tmp_path / "data" / depth)
    (tmp_path / "frames").mkdir()
    assert find_root([tmp_path / "frames", tmp_path / "data"]) == root


def test_folders_that_contain_the_same_release_are_accepted(tmp_path: Path) -> None:
    root = write_release(tmp_path / "data")
    assert find_root([tmp_path, root]).samefile(root)


def test_two_releases_are_rejected(tmp_path: Path) -> None:
    one, two = write_release(tmp_path / "one"), write_release(tmp_path / "two")
    with pytest.raises(UsageError, match=f"one folder .* expected, found {one} and {two}"):
        find_root([tmp_path])


def test_missing_release_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"expected below {tmp_path}, found no video_clips.txt"):
        find_root([tmp_path])
    with pytest.raises(UsageError, match=r"folder not found: .*absent"):
        find_root([tmp_path / "absent"])


@pytest.mark.parametrize("name", ["all", "splits", "knowledge"])
def test_missing_part_of_the_release_is_rejected(tmp_path: Path, name: str) -> None:
    shutil.rmtree(write_release(tmp_path / "data") / name)
    with pytest.raises(UsageError, match=f"the folder {name} expected beside .*video_clips.txt"):
        find_root([tmp_path])


def test_video_files_are_found_by_id(tmp_path: Path) -> None:
    write_release(tmp_path / "data")
    for name in (".hidden.json", "notes.txt"):
        (tmp_path / "data/all/Subject1/drinking" / name).write_text("")
    (tmp_path / "data/all/.trash/drinking").mkdir(parents=True)
    (tmp_path / "data/all/.trash/drinking/0009.json").write_text("")
    found, errors = find_videos(tmp_path / "data")
    assert errors == {}
    assert found == {name: video_path(tmp_path / "data", name) for name in VIDEOS}


def test_unsafe_ids_and_second_files_of_an_id_are_errors_of_the_video(tmp_path: Path) -> None:
    root = write_release(tmp_path / "data")
    (root / "all/Subject2/drinking/0001.json").write_text("{}")
    (root / "all/Subject2/drinking/a b.json").write_text("{}")
    found, errors = find_videos(root)
    assert set(found) == {"0002", "0003"}
    assert set(errors) == {"0001", "a b"}
    assert "one file per video id expected, got" in errors["0001"]
    assert "'Subject2/drinking/a b': subject, activity and id of letters" in errors["a b"]


def test_folder_without_video_files_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "all").mkdir()
    with pytest.raises(UsageError, match=r"<video id>\.json expected, found none"):
        find_videos(tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_lines_are_read_with_their_numbers(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("one\r\n\r\n  two\t\nthree".encode(encoding))
    assert read_lines(path) == [(1, "one"), (3, "two"), (4, "three")]


def test_text_files_that_cannot_be_used_are_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "MAX_TEXT_BYTES", 1 << 20)
    path = tmp_path / "list.txt"
    for data, message in (
        (b"\n \n", "list.txt: at least one line expected"),
        (b"a" * ((1 << 20) + 1), "list.txt: a text file of at most 1 MiB expected"),
        (b"\xff\xfe\xff", "list.txt: text in UTF-8"),
    ):
        path.write_bytes(data)
        with pytest.raises(UsageError, match=message):
            read_lines(path)
    path.unlink()
    for _ in range(2):  # the path does not exist, then it is a folder
        with pytest.raises(UsageError, match=r"file not found: .*list\.txt"):
            read_lines(path)
        path.mkdir(exist_ok=True)
