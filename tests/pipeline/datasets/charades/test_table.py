from pathlib import Path

import pytest

from pipeline.datasets.charades.locate import CLASSES, TRAIN
from pipeline.datasets.charades.table import Charades, CharadesVideo, read_charades, read_classes
from pipeline.datasets.checksums import read_checksums
from pipeline.errors import UsageError
from tests.pipeline.dataset_maker import HEADER

NAMES = "c000 Holding some clothes\nc001 Öffnen\n"
ROW = 'A0001,S001,Küche,5,6,Yes,"a, b",cup,d,c001 0.00 1.00;c000 0.50 1.60,1.60'
VIDEO = CharadesVideo("train", "S001", "Küche", 1.6, ((1, 0.0, 1.0), (0, 0.5, 1.6)))
ENCODINGS = ("utf-8", "utf-8-sig", "utf-16")


def read(folder: Path, table: bytes | str, classes: bytes | str = NAMES) -> Charades:
    files = {TRAIN: folder / TRAIN, CLASSES: folder / CLASSES}
    for path, data in ((files[TRAIN], table), (files[CLASSES], classes)):
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_charades(files)


def with_delimiter(delimiter: str) -> str:
    cells = ROW.replace('"a, b"', "a").split(",")
    cells[9] = f'"{cells[9]}"'
    return "\n".join(
        [HEADER.replace(",", delimiter), delimiter.join(cells).replace('"a"', '"a, b"')]
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_csv_and_class_files_are_read_in_common_encodings(
    tmp_path: Path, encoding: str, end: str
) -> None:
    table = end.join([HEADER, ROW, "", ""]).encode(encoding)
    found = read(tmp_path, table, NAMES.replace("\n", end).encode(encoding))
    assert found.errors == {}
    assert found.classes == (("c000", "Holding some clothes"), ("c001", "Öffnen"))
    assert found.videos == {"A0001": VIDEO}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiter_is_found_in_the_header(tmp_path: Path, delimiter: str) -> None:
    found = read(tmp_path, with_delimiter(delimiter))
    assert found.errors == {}
    assert found.videos == {"A0001": VIDEO}


def test_columns_that_are_not_used_can_be_missing(tmp_path: Path) -> None:
    found = read(tmp_path, "length,id,actions\n2.5,mine,c001 0 1\n")
    assert found.videos == {"mine": CharadesVideo("train", None, None, 2.5, ((1, 0.0, 1.0),))}


@pytest.mark.parametrize("blank", ["\n", "  \n", ",,,,,,,,,,\n"])
def test_blank_rows_and_lines_are_ignored(tmp_path: Path, blank: str) -> None:
    table = f"{HEADER}\n{blank}{ROW}\n{blank}"
    found = read(tmp_path, table, f"{NAMES}\n  \n")
    assert (found.errors, len(found.videos), len(found.classes)) == ({}, 1, 2)


@pytest.mark.parametrize("line", ["c000;Holding", "c000,Holding", "c000\tHolding", "c000 Holding"])
def test_class_line_may_have_another_delimiter(tmp_path: Path, line: str) -> None:
    (tmp_path / "classes.txt").write_text(line)
    assert read_classes(tmp_path / "classes.txt") == (("c000", "Holding"),)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("A0001,S001,Kitchen,5,6,Yes", "2: 11 columns expected as in the header, got 6"),
        (ROW.replace('"a, b"', "a, b"), "2: 11 columns expected as in the header, got 12"),
        (ROW.removesuffix("1.60") + '"1,60"', "2: length: time in seconds with a decimal point"),
        (ROW.replace("c000", "c007"), "a class of Charades_v1_classes.txt expected, got 'c007'"),
    ],
)
def test_malformed_row_affects_only_its_video(tmp_path: Path, row: str, says: str) -> None:
    found = read(tmp_path, f"{HEADER}\n{row}\n{ROW.replace('A0001', 'B0002')}\n")
    assert says in found.errors["A0001"]
    assert set(found.videos) == {"B0002"}


@pytest.mark.parametrize(
    ("table", "says"),
    [
        (f"{HEADER}\n{ROW}".encode("utf-16-le"), "UTF-8, or in UTF-16 .*expected, got NUL"),
        (f"{HEADER}\n{ROW}".encode("latin-1"), "UTF-8.* expected, got the byte 0xfc in line 2"),
        (f"{HEADER}\n{ROW}".replace("A0001", " "), "2: an id expected, got a row without one"),
        (f"{HEADER}\n{ROW}".replace(",", "|"), "'id' is missing in 'id|subject"),
        ("", "'id' is missing in ''"),
    ],
)
def test_unreadable_table_is_rejected(tmp_path: Path, table: bytes | str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read(tmp_path, table)


def test_checksums_of_another_system_are_read(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    for encoding in ENCODINGS:
        path.write_bytes(f"{'a' * 64}  Küche.mp4\r\n".encode(encoding))
        assert read_checksums(path) == {"Küche.mp4": "a" * 64}


@pytest.mark.parametrize("name", ["A0001.mp4", "A0001.MKV", " A0001.avi "])
def test_suffixes_of_videos_in_ids_are_ignored(tmp_path: Path, name: str) -> None:
    assert read(tmp_path, "\n".join([HEADER, ROW.replace("A0001", name)])).videos == {
        "A0001": VIDEO
    }
    other = read(tmp_path, "\n".join([HEADER, ROW.replace("A0001", "A0001.v2")]))
    assert other.videos == {"A0001.v2": VIDEO}
