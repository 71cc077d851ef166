"""Tests of predictions of many videos: engines, shards, failures and interruptions."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pipeline import predict
from pipeline.engine.stage import Task
from pipeline.errors import UsageError
from pipeline.prediction.explainer import Explainer
from pipeline.prediction.job import ExaminedVideo
from pipeline.prediction.steps import PredictionSteps
from tests.conftest import World

ROOT = Path(__file__).resolve().parents[3]
Tree = dict[str, bytes]


@pytest.fixture(scope="module")
def videos(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with three videos and a truncated one."""
    folder = tmp_path_factory.mktemp("videos")
    for number, clip in enumerate(world.test_clips):
        shutil.copy(clip, folder / f"V{number}.mp4")
    (folder / "broken.mp4").write_bytes((folder / "V0.mp4").read_bytes()[:3000])
    return folder


@pytest.fixture(scope="module")
def whole(run: Path, videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Files of the output folder after one run with default options."""
    out = tmp_path_factory.mktemp("whole") / "out"
    assert say(run, videos, out) == 1
    return tree(out)


def words_of(run: Path, videos: Path, out: Path) -> list[str]:
    return ["--run", str(run), "--out", str(out), str(videos), "device=cpu"]


def say(run: Path, videos: Path, out: Path, *words: str) -> int:
    return predict.main([*words_of(run, videos, out), *words])


def run_apart(run: Path, videos: Path, out: Path, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.predict", *words_of(run, videos, out), *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def tree(out: Path) -> Tree:
    paths = [path for path in out.rglob("*") if path.is_file()]
    names = {path: path.relative_to(out).as_posix() for path in paths}
    return {
        name: path.read_bytes()
        for path, name in names.items()
        if not name.startswith((".", "run")) and name != "failures.jsonl"
    }


def counts(out: Path, name: str = "run.json") -> dict[str, int]:
    return json.loads((out / name).read_text())["counts"]


def failed(out: Path) -> dict[str, Any]:
    lines = (out / "failures.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


@pytest.mark.parametrize(
    "words",
    [
        ["decode.workers=0"],
        ["decode.workers=2"],
        ["device=cpu,cpu", "decode.workers=2"],
    ],
)
def test_devices_and_worker_counts_write_the_same_bytes(
    run: Path, videos: Path, whole: Tree, tmp_path: Path, words: list[str]
) -> None:
    assert say(run, videos, tmp_path, *words) == 1
    assert tree(tmp_path) == whole
    assert counts(tmp_path) == {"found": 4, "done": 3, "skipped": 0, "failed": 1}
    lines = whole["predictions.jsonl"].decode().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["V0", "V1", "V2", "broken"]
    # These settings do not affect the explanations, so none is made again.
    assert say(run, videos, tmp_path) == 1
    assert counts(tmp_path) == {"found": 4, "done": 0, "skipped": 3, "failed": 1}
    assert tree(tmp_path) == whole


@pytest.mark.parametrize("at_once", [False, True])
def test_two_shards_write_the_same_bytes(
    run: Path, videos: Path, whole: Tree, tmp_path: Path, at_once: bool
) -> None:
    for index in (1, 2):
        words = ("--shard", f"{index}/2", "--export", "coco")
        if not at_once:
            say(run, videos, tmp_path, *words)
        elif index == 1:
            other = run_apart(run, videos, tmp_path, *words)
        else:
            say(run, videos, tmp_path, *words)
            other.wait(timeout=120)
    found = [counts(tmp_path, f"run-{index}-of-2.json") for index in (1, 2)]
    assert min(row["found"] for row in found) > 0
    assert sum(row["done"] for row in found) == 3
    assert not (tmp_path / "run.json").exists()
    assert say(run, videos, tmp_path, "--export", "coco") == 1  # sorts the lines
    images = json.loads((tmp_path / "exports" / "coco.json").read_text())["images"]
    assert {row["video"] for row in images} == {"V0", "V1", "V2"}
    shutil.rmtree(tmp_path / "exports")
    assert tree(tmp_path) == whole


def test_failed_video_is_tried_again_if_asked_or_if_its_bytes_or_settings_change(
    run: Path, videos: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    folder.mkdir()
    broken = Path(shutil.copy(videos / "broken.mp4", folder))
    for words, attempts in (
        ([], 1),
        ([], 1),
        (["--retry-failed"], 2),
        (["decode.timeout_s=50"], 3),
        (["predict.top=2"], 4),
        (["predict.top=2"], 4),
    ):
        assert say(run, folder, out, *words) == 1
        assert failed(out)["broken"]["attempts"] == attempts
    row = failed(out)["broken"]
    assert row["input_sha256"] == hashlib.sha256(broken.read_bytes()).hexdigest()
    assert row["stage"] == "predict"
    shutil.copy(videos / "V0.mp4", broken)
    assert say(run, folder, out, "predict.top=2") == 0
    assert not failed(out)


def test_budget_and_duplicate_ids(
    run: Path, videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "videos", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    for place in (folder, folder / "sub"):
        shutil.copy(videos / "V0.mp4", place)
    shutil.copy(videos / "broken.mp4", folder)
    name = f"V0 ({folder / 'sub' / 'V0.mp4'})"
    assert say(run, folder, out, "--max-failures", "2", "--format", "json") == 1
    assert "use --retry-failed to try them again" in capsys.readouterr().out
    assert {k: row["reason"] for k, row in failed(out).items()} == {
        name: "duplicate-id",
        "broken": "truncated-video",
    }
    rows = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["V0", name, "broken"]
    assert (out / "V0" / "explanation.json").is_file()
    assert say(run, folder, out, "--max-failures", "1") == 3
    assert say(run, folder, tmp_path / "paths", "--ids", "path", "--format", "json") == 1
    assert failed(tmp_path / "paths").keys() == {"broken"}
    assert say(run, folder, tmp_path / "one", "--limit", "1", "--format", "json") == 0
    assert counts(tmp_path / "one")["found"] == 1


def test_video_with_an_invalid_line_is_explained_again(
    run: Path, videos: Path, whole: Tree, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert say(run, videos, out) == 1
    first, second, *others = whole["predictions.jsonl"].decode().splitlines()
    hostile = json.dumps(json.loads(second) | {"scores": ["1"]})
    (out / "predictions.jsonl").write_text("\n".join([first, hostile, "7", *others]))
    assert say(run, videos, out) == 1
    assert counts(out) == {"found": 4, "done": 1, "skipped": 2, "failed": 1}
    assert tree(out) == whole


def test_error_in_one_video_leaves_the_others(
    run: Path, videos: Path, whole: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Explainer.explain

    def explain(self: Explainer, found: Any, frames: Any) -> Any:
        if found.task.video_id == "V1":
            raise RuntimeError("an unexpected error")
        return real(self, found, frames)

    with monkeypatch.context() as patch:
        patch.setattr(Explainer, "explain", explain)
        assert say(run, videos, tmp_path) == 1
    assert failed(tmp_path)["V1"]["reason"] == "internal-error"
    assert counts(tmp_path)["done"] == 2
    assert say(run, videos, tmp_path) == 1
    assert counts(tmp_path) == {"found": 4, "done": 0, "skipped": 2, "failed": 2}
    assert say(run, videos, tmp_path, "--retry-failed") == 1
    assert tree(tmp_path) == whole


class CrashingSteps(PredictionSteps):
    """Steps that end their process for one video."""

    def prepare(self, task: Task, sha256: str) -> ExaminedVideo:
        if task.video_id == "V1":
            os._exit(1)
        return super().prepare(task, sha256)


def test_actors_write_the_same_bytes_and_a_crash_loses_only_its_video(
    run: Path, videos: Path, whole: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.predict.PredictionSteps", CrashingSteps)
        assert say(run, videos, tmp_path, "--engine", "ray", "--actors", "1") == 1
    assert failed(tmp_path)["V1"]["reason"] == "worker-died"
    assert counts(tmp_path) == {"found": 4, "done": 2, "skipped": 0, "failed": 2}
    found = {k: v for k, v in tree(tmp_path).items() if k.startswith(("V0/", "V2/"))}
    assert found == {k: v for k, v in whole.items() if k.startswith(("V0/", "V2/"))}
    assert say(run, videos, tmp_path, "--retry-failed") == 1
    assert tree(tmp_path) == whole


def test_next_run_completes_a_killed_run(
    run: Path, videos: Path, whole: Tree, tmp_path: Path
) -> None:
    with run_apart(run, videos, tmp_path) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("*/explanation.json")):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
        process.wait(timeout=60)
    assert say(run, videos, tmp_path) == 1
    assert counts(tmp_path)["done"] > 0
    assert tree(tmp_path) == whole
    assert not list(tmp_path.rglob(".*tmp*"))


def test_arguments_of_other_engines_are_rejected(run: Path, videos: Path, tmp_path: Path) -> None:
    for words, says in (
        (["--actors", "2"], "require --engine ray"),
        (["--shard", "3/2"], "i/N with i from 1 to N expected"),
        (["device=cpu,tpu"], "auto, cpu or cuda"),
    ):
        with pytest.raises(UsageError, match=says):
            say(run, videos, tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()
