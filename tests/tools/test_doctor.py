"""Tests of `tools.doctor` on a machine in which parts are taken away."""

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.decoding import VideoReader
from pipeline.errors import UsageError
from tools import doctor


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROBE_MB", 2)
    monkeypatch.setattr(doctor, "matrix_rate", lambda *_: 7.0)


def examined(tmp_path: Path) -> tuple[int, dict[str, dict[str, str]]]:
    path = tmp_path / "doctor.json"
    code = doctor.main(["--folder", str(tmp_path), "--json", str(path)])
    rows = json.loads(path.read_text())["findings"]
    return code, {row["name"]: row for row in rows}


def test_this_machine_can_run_the_program(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = examined(tmp_path)
    assert code == 0
    for name in ("Python", "torch", "av", "disk", "pyav, H.264", "pyav, MPEG-4", "opencv, H.264"):
        assert found[name]["status"] == doctor.OK, found[name]
    assert not list(tmp_path.glob(".doctor-*"))
    shown = capsys.readouterr().out
    assert "14 GFLOP/s" in shown
    for row in found.values():
        assert row["name"] in shown
        assert row["status"] == doctor.OK or row["remedy"] or row["status"] == doctor.WEAK
        assert (row["remedy"] in shown) or row["status"] == doctor.OK


def test_missing_package_has_a_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def find(name: str, *rest: Any) -> Any:
        return None if name in ("ray", "decord") else found(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    code, rows = examined(tmp_path)
    assert code == 0  # these packages are optional
    assert rows["ray"]["status"] == rows["decord, H.264"]["status"] == doctor.MISSING
    assert "pip install 'ray" in rows["ray"]["remedy"]
    assert "pip install decord" in rows["decord, H.264"]["remedy"]


def test_wrong_pixels_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = VideoReader.read

    def first(self: VideoReader, indices: list[int]) -> Any:
        return read(self, [0])

    monkeypatch.setattr(VideoReader, "read", first)
    code, rows = examined(tmp_path)
    assert code == 1
    assert rows["pyav, H.264"]["status"] == doctor.MISSING
    assert "pixels differ" in rows["pyav, H.264"]["detail"]


def test_folder_must_exist(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="existing folder"):
        doctor.main(["--folder", str(tmp_path / "none")])
