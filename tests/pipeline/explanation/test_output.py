import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.decoding.array_stream import array_sha256
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.explanation.formats import DEFAULT, FILES, Format
from pipeline.explanation.output import is_saved, remove
from pipeline.runtime.command_line import parse_names
from tests.pipeline.explanation.report.explanation_maker import make_explanation


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_files_of_the_same_explanation_stay_and_others_are_replaced(tmp_path: Path) -> None:
    explanation, folder = make_explanation(name="A"), tmp_path / "A"
    explanation.save(tmp_path, ["json"], "clip.mp4")
    explanation.save(tmp_path, ["vtt"], "clip.mp4")
    assert names(folder) == {"explanation.json", "captions.vtt", "entry.json"}
    assert is_saved(folder, explanation.fingerprint, [Format.JSON, Format.VTT])
    assert not is_saved(folder, explanation.fingerprint, DEFAULT)
    assert not is_saved(folder, "0" * 64, [Format.JSON])
    other = replace(explanation, fingerprint="0" * 64)
    other.save(tmp_path, ["html"])
    assert names(folder) == {"report.html", "entry.json"}
    assert is_saved(folder, "0" * 64, [Format.HTML])
    remove(folder, keep="0" * 64)
    assert names(folder) == {"report.html", "entry.json"}
    (folder / "notes.txt").write_text("mine")
    remove(folder)
    assert names(folder) == {"notes.txt"}


def test_missing_files_and_damaged_entries_are_not_saved(tmp_path: Path) -> None:
    explanation, folder = make_explanation(name="A"), tmp_path / "A"
    explanation.save(tmp_path)
    assert names(folder) == {name for kind in DEFAULT for name in FILES[kind]} | {"entry.json"}
    assert is_saved(folder, explanation.fingerprint, DEFAULT)
    (folder / "report.html").unlink()
    assert not is_saved(folder, explanation.fingerprint, DEFAULT)
    tree = json.loads((folder / "entry.json").read_text())
    assert tree["path"] is None
    tree["files"].append("../../outside")
    (folder / "entry.json").write_text(json.dumps(tree))
    assert is_saved(folder, explanation.fingerprint, [Format.JSON])
    (folder / "entry.json").write_text("{")
    assert not is_saved(folder, explanation.fingerprint, [Format.JSON])


def test_formats_are_parsed() -> None:
    assert parse_names(["vtt", " json", "vtt"], Format, "--format") == (Format.VTT, Format.JSON)
    with pytest.raises(UsageError, match=r"--format: one of json, html, .* expected, got 'pdf'"):
        parse_names(["json", "pdf"], Format, "--format")
    with pytest.raises(UsageError, match="got ''"):
        parse_names([""], Format, "--format")


def test_an_annotated_video_requires_the_video(tmp_path: Path) -> None:
    explanation = make_explanation(name="A", frames=2, size=(64, 48))
    with pytest.raises(ValueError, match="the explained video expected"):
        explanation.save(tmp_path, ["video", "json"])
    assert not (tmp_path / "A").exists()
    frames = np.zeros((explanation.video.num_frames, 48, 64, 3), np.uint8)
    with pytest.raises(ItemError, match="the explained video expected, but the frames differ"):
        explanation.save(tmp_path, ["video", "json"], frames)
    sha256 = array_sha256(frames, explanation.video.fps)
    explanation = replace(explanation, video=replace(explanation.video, sha256=sha256))
    left = tmp_path / "A" / ".annotated.mp4.tmp-01234567-99999999-01234567"  # of a killed run
    left.touch()
    os.utime(left, (0, 0))
    explanation.save(tmp_path, ["video", "json"], frames)
    assert names(tmp_path / "A") == {"annotated.mp4", "explanation.json", "entry.json"}


def test_a_file_that_cannot_be_written_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("pipeline.explanation.output.write_sheet", full)
    with pytest.raises(OSError, match="No space left"):
        make_explanation(name="A").save(tmp_path, ["sheet", "json", "vtt"])
    assert names(tmp_path / "A") == {"explanation.json", "captions.vtt", "entry.json"}


@pytest.mark.parametrize("name", ["predictions.jsonl", "B"])
def test_an_id_that_names_another_file_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "B").write_text("a file")
    with pytest.raises(ItemError, match="rename the video") as caught:
        make_explanation(name=name).save(tmp_path)
    assert caught.value.reason is FailureReason.UNSAFE_ID
    remove(tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"B"}
