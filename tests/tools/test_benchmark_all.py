"""Tests of `tools.benchmark all`, `decode` and `predict`, and of the page of their results."""

import json
from pathlib import Path

import pytest

from pipeline.errors import StageError, UsageError
from tests.pipeline.video_maker import write_clip
from tools import benchmark, benchmark_page
from tools.proofs.benchmarks import decoding, prediction
from tools.proofs.benchmarks.decoding import DecodingPlan, benchmark_decoding

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "docs" / "results" / "benchmarks").glob("*.json"))


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write_clip(folder / "V0.mp4", 9)
    return folder


def test_all_measures_every_stage_and_its_file_becomes_a_page(
    videos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert {*benchmark_page.TITLES} == {*benchmark.STAGES_OF_ALL} <= {*benchmark.BENCHMARKS}
    stages = ("decode", "cache", "predict")  # tests/tools/test_benchmark.py runs the others
    monkeypatch.setattr(benchmark, "STAGES_OF_ALL", stages)
    path, page = tmp_path / "all.json", tmp_path / "page.md"
    words = ["all", "--videos", str(videos), "--num-frames", "2", "--num-videos", "2"]
    words += ["--rounds", "1", "--device", "cpu", "--json", str(path)]
    assert benchmark.main(words) == 0
    tree = json.loads(path.read_text())
    assert tree["command"] == words
    assert tuple(tree["results"]) == stages
    assert tree["machine"]["cores"] >= 1
    rows = tree["results"]["decode"]["rows"]
    assert {decoding.OURS, decoding.OPENCV, decoding.EVERY} <= rows.keys()
    assert decoding.processes(1) in rows
    assert decoding.processes(2) not in rows  # there is one video
    assert rows[decoding.OPENCV]["ratio"] == 1
    assert all(row["frames_per_s"] > 0 for row in rows.values())
    found = tree["results"]["predict"]
    assert found["frames"] >= found["videos"] == 1
    seconds = {name: row["seconds"] for name, row in found["rows"].items()}
    assert seconds[prediction.WHOLE] > seconds[prediction.DECODE]
    whole = found["rows"][prediction.WHOLE]
    assert whole["real_time"] == pytest.approx(found["length_s"] / whole["seconds"])
    shown = capsys.readouterr().out
    assert benchmark_page.main([str(path), "--out", str(page)]) == 0
    text = page.read_text()
    assert text.count("\n## ") == 1
    assert text.count("\n### ") == text.count("```text") == len(stages)
    for block in text.split("```text\n")[1:]:
        assert block.partition("```")[0].strip() in shown


def test_page_is_that_of_the_stored_files(tmp_path: Path) -> None:
    assert FILES
    page = tmp_path / "page.md"
    assert benchmark_page.main([*map(str, FILES), "--out", str(page)]) == 0
    assert page.read_text() == (ROOT / "docs" / "benchmarks.md").read_text()


EMPTY = (
    '{"schema": "laiar.benchmark/1", "machine": {"device": "", "cores": 1, "threads": 1, '
    '"python": "", "torch": ""}, "command": "all", "results": {}}'
)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "laiar.benchmark/1"}', EMPTY])
def test_other_files_are_rejected(tmp_path: Path, content: str) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(UsageError, match=r"a file of `tools.benchmark all --json` expected"):
        benchmark_page.main([str(path), "--out", str(tmp_path / "page.md")])
    with pytest.raises(UsageError, match="--out: a file in an existing folder expected"):
        benchmark_page.main([str(path), "--out", str(tmp_path)])


def test_a_decoder_that_loses_frames_is_an_error(
    videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cv2.VideoCapture.grab", lambda _capture: False)
    with pytest.raises(StageError, match=r"V0\.mp4: 2 frames expected, a decoder returned 0"):
        benchmark_decoding(DecodingPlan([videos / "V0.mp4"], 2, 1))
