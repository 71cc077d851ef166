"""Tests of the engine and the accounts with a stage without networks."""

import json
import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.schema import Config
from pipeline.datasets import Annotations, ClipAnnotation
from pipeline.datasets.video_files import VideoFile, video_sha256
from pipeline.decoding import FrameStream
from pipeline.engine.accounts import Accounts, look_around
from pipeline.engine.local import LocalEngine
from pipeline.engine.stage import Examined, Outcome, Task, Worker, examine
from pipeline.engine.tasks import item_names, make_tasks
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.runtime.run_record import RunRecord
from pipeline.runtime.writers import Writer


@dataclass(frozen=True)
class Copying:
    """Stage that copies files to a folder. `problems` maps (step, id) to the error of the step."""

    folder: Path
    config: Config = field(default_factory=Config)
    problems: dict[tuple[str, str], BaseException] = field(default_factory=dict)
    devices: list[str] = field(default_factory=list)

    def failure_fingerprint(
        self, annotation: ClipAnnotation | None, bad: str | None, expected_sha256: str | None
    ) -> str:
        return f"{annotation and annotation.video_id} {bad} {expected_sha256}"

    def is_done(self, task: Task, sha256: str) -> bool:
        path = self.folder / task.video_id
        return path.is_file() and video_sha256(path) == sha256

    def prepare(self, task: Task, sha256: str) -> Examined:
        self._raise("prepare", task)
        return Examined(task, sha256, sha256, None)

    def worker(self, device: torch.device) -> Worker[Examined, bytes]:
        def run(found: Examined, frames: FrameStream | None) -> bytes:
            assert frames is None
            self.devices.append(threading.current_thread().name)
            self._raise("run", found.task)
            return found.task.video.path.read_bytes()

        return run

    def store(self, found: Examined, result: bytes) -> Outcome:
        self._raise("store", found.task)
        (self.folder / found.task.video_id).write_bytes(result)
        return found.task.outcome("done", found.sha256, row=len(result))

    def failed(self, task: Task, error: ItemError, sha256: str = "") -> Outcome:
        return task.outcome("failed", sha256, error)

    def _raise(self, step: str, task: Task) -> None:
        if error := self.problems.get((step, task.video_id)):
            raise error


@pytest.fixture
def videos(tmp_path: Path) -> list[VideoFile]:
    (tmp_path / "videos").mkdir()
    found = [VideoFile(tmp_path / "videos" / f"{name}.mp4", name) for name in "abcdef"]
    for video in found:
        video.path.write_text(video.video_id)
    return found


@pytest.fixture
def stage(tmp_path: Path) -> Copying:
    (tmp_path / "out").mkdir()
    return Copying(tmp_path / "out")


def run(
    stage: Copying, videos: list[VideoFile], *, budget: int | None = None, **options: Any
) -> tuple[dict[str, int], dict[str, Any], dict[str, Any]]:
    """Return the counts, the written rows and the lines of failures.jsonl."""
    config = {"max_failures": budget}
    with RunRecord(stage.folder, stage="copy", config=config, argv=[]) as record:
        accounts = Accounts(record, "copy")
        tasks = make_tasks(stage, videos, accounts.failures, **({"retry": False} | options))
        workers = [stage.worker(torch.device("cpu")) for _ in range(2)]
        written = accounts.run(LocalEngine(stage, workers), tasks, budget)
    path = stage.folder / "failures.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return record.counts.to_dict(), written, {row["id"]: row for row in map(json.loads, lines)}


def test_each_failing_step_fails_only_its_video(stage: Copying, videos: list[VideoFile]) -> None:
    stage.problems[("prepare", "a")] = ItemError(FailureReason.NO_FRAMES, "no frames")
    stage.problems[("run", "b")] = RuntimeError("unexpected")
    stage.problems[("store", "c")] = OSError(28, "No space left on device")
    videos[3].path.unlink()
    counts, written, failed = run(stage, videos)
    assert counts == {"found": 6, "done": 2, "skipped": 0, "failed": 4}
    assert written == {"e": 1, "f": 1}
    assert {item: row["reason"] for item, row in failed.items()} == {
        "a": "no-frames",
        "b": "internal-error",
        "c": "disk-full",
        "d": "missing-video",
    }
    # A missing video has no bytes that can be equal, and is tried again.
    counts, written, failed = run(stage, videos)
    assert counts == {"found": 6, "done": 0, "skipped": 2, "failed": 4}
    assert {item: row["attempts"] for item, row in failed.items()} == dict.fromkeys("abc", 1) | {
        "d": 2
    }
    videos[0].path.write_text("other bytes")
    stage.problems.clear()
    counts, written, failed = run(stage, videos)
    assert (written, set(failed)) == ({"a": 11}, {"b", "c", "d"})
    assert run(stage, videos, retry=True)[2].keys() == {"d"}


def test_result_of_another_command_is_no_failure(stage: Copying, videos: list[VideoFile]) -> None:
    (stage.folder / "a").write_text("a")
    task = Task(videos[0])
    found = examine(stage, task)
    assert isinstance(found, Outcome)
    assert found.status == "skipped"

    def fails(found: Examined, frames: FrameStream | None) -> bytes:
        (stage.folder / found.task.video_id).write_bytes(found.task.video.path.read_bytes())
        raise ItemError(FailureReason.NO_FRAMES, "no frames")

    outcomes = [*LocalEngine(stage, [fails]).run([Task(videos[1])])]
    assert [outcome.status for outcome in outcomes] == ["skipped"]


def test_budget_stops_the_run(stage: Copying, videos: list[VideoFile]) -> None:
    for name in "abc":
        stage.problems[("run", name)] = RuntimeError("unexpected")
    counts, _, failed = run(stage, videos, budget=1)
    assert (counts["failed"], len(failed)) == (2, 2)
    assert json.loads((stage.folder / "run.json").read_text())["exit_code"] == 3


def test_usage_error_of_a_worker_stops_the_command(stage: Copying, videos: list[VideoFile]) -> None:
    before = threading.active_count()
    stage.problems[("run", "b")] = UsageError("no weights")
    with pytest.raises(UsageError, match="no weights"):
        run(stage, videos)
    assert threading.active_count() == before


def test_tasks_contain_annotations_checksums_and_duplicate_ids(
    stage: Copying, videos: list[VideoFile], tmp_path: Path
) -> None:
    known = Annotations((), {"a": ClipAnnotation("a")}, {"b": "a bad row"})
    double = VideoFile(tmp_path / "videos" / "sub" / "a.mp4", "a")
    double.path.parent.mkdir()
    double.path.write_text("another a")
    folder = tmp_path / "videos"
    counts, _, failed = run(
        stage,
        [videos[0], double, *videos[1:3]],
        annotations=known,
        folder=folder,
        checksums={videos[2].path: "0" * 64},
    )
    assert counts == {"found": 4, "done": 1, "skipped": 0, "failed": 3}
    assert {item: row["reason"] for item, row in failed.items()} == {
        "a (sub/a.mp4)": "duplicate-id",
        "b": "bad-annotation",
        "c": "corrupt-video",
    }
    assert item_names([double], folder) == {"a", "a (sub/a.mp4)"}
    assert f"a ({double.path})" in item_names([double], None)
    assert failed["b"]["settings"] == "None a bad row None"


def test_other_writers_are_reported_and_leftovers_removed(
    stage: Copying, caplog: pytest.LogCaptureFixture
) -> None:
    mine = stage.folder / ".a.tmp-00000000-1-00000000"
    mine.write_text("")
    os.utime(mine, (0, 0))
    other = stage.folder / ".writer.tmp-00000000-2"  # of another host, recent
    other.write_text("")
    with Writer(stage.folder):
        look_around(stage.folder, "copy", is_shared=False)
    assert not mine.exists()
    assert "1 other processes write to" in caplog.text
    caplog.clear()
    look_around(stage.folder, "copy", is_shared=True)
    assert "other processes" not in caplog.text
