import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.checksums import read_checksums
from pipeline.errors import UsageError
from pipeline.extract import main
from tests.pipeline.dataset_maker import write_dataset
from tests.pipeline.test_extract import SMALL

A, B = "a" * 64, "B" * 64


def test_lines_of_sha256sum_are_read(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"{A}  A.mp4\n{B} *./sub/B C.mp4\r\n\n\\{A}  new\\nline\\\\.mp4\n")
    assert read_checksums(path) == {
        "A.mp4": A,
        "B C.mp4": B.lower(),
        "new\nline\\.mp4": A,
    }


def test_byte_order_marks_and_tagged_lines_are_read(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(
        f"SHA256 (A (1).mp4) = {A}\n{B}  B.mp4\n\\SHA256 (c\\\\d.mp4) = {A}\n",
        encoding="utf-8-sig",
    )
    assert read_checksums(path) == {"A (1).mp4": A, "B.mp4": B.lower(), "c\\d.mp4": A}


def test_tagged_lines_of_the_program_are_read(tmp_path: Path) -> None:
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("needs the program sha256sum")
    (tmp_path / "A 1.mp4").write_bytes(b"x")
    words = [program, "--tag", "A 1.mp4"]
    (tmp_path / "sums").write_bytes(subprocess.run(words, cwd=tmp_path, capture_output=True).stdout)
    found = read_checksums(tmp_path / "sums")
    assert found == {"A 1.mp4": hashlib.sha256(b"x").hexdigest()}


def test_folders_distinguish_equal_names(tmp_path: Path) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(f"{A}  ./run/1.mp4\n{B}  walk/1.mp4\n")
    assert read_checksums(path, by_path=True) == {"run/1.mp4": A, "walk/1.mp4": B.lower()}
    with pytest.raises(UsageError, match=r"a second sum of '1\.mp4'"):
        read_checksums(path)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("no sums\n", "is not a line of sha256sum"),
        (f"{A[:-1]}  short.mp4", "is not a line of sha256sum"),
        (f"{A}  A.mp4\n{B}  sub/A.mp4\n", "second sum of 'A.mp4'"),
    ],
)
def test_malformed_checksum_files_are_rejected(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "SHA256SUMS"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_checksums(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_checksums(tmp_path / "absent")


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_rejected(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.getbasetemp() / "sums"
    path.write_bytes(b"x" + data)
    with pytest.raises(UsageError, match="sha256sum"):
        read_checksums(path)


def test_video_with_wrong_checksum_fails_until_the_list_is_corrected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    videos, _ = write_dataset(tmp_path)
    sums, cache = tmp_path / "SHA256SUMS", tmp_path / "cache"
    right = hashlib.sha256((videos / "A0001.mp4").read_bytes()).hexdigest()
    words = ["--videos", str(videos), "--cache", str(cache), *SMALL, "decode.workers=0"]
    sums.write_text(f"{A}  A0001.mp4\n")
    assert main([*words, "--checksums", str(sums)]) == 1
    assert "1 of 2 videos are not in the list and are not checked; first: B0002.mp4" in caplog.text
    row = json.loads((cache / "failures.jsonl").read_text())
    assert (row["id"], row["reason"]) == ("A0001", "corrupt-video")
    assert row["input_sha256"] == right
    sums.write_text(f"{right}  A0001.mp4\n")
    assert main([*words, "--checksums", str(sums)]) == 0
    assert (cache / "failures.jsonl").read_text() == ""
