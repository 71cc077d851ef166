import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pipeline.cache.manifest import read_manifest
from pipeline.config.loading import load_config
from pipeline.datasets.video_files import VideoFile
from pipeline.engine import ray
from pipeline.engine.local import LocalEngine
from pipeline.engine.ray import OneByOne, RayEngine
from pipeline.engine.shard import Shard, parse_shard
from pipeline.engine.stage import Task
from pipeline.errors import FailureReason, UsageError
from pipeline.extract import main
from pipeline.extraction.job import prepare_extraction
from pipeline.extraction.steps import ExaminedClip, Steps
from tests.pipeline.test_extract import SMALL
from tests.pipeline.video_maker import write_clip

ROOT = Path(__file__).resolve().parents[3]
Tree = dict[str, bytes]


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with four videos and a text file that is named like a video."""
    folder = tmp_path_factory.mktemp("videos")
    for number in range(4):
        write_clip(folder / f"V{number}.mp4", 12 + number)
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.fixture(scope="module")
def whole(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Tree:
    """Files of the cache after one run with default options."""
    cache = tmp_path_factory.mktemp("whole") / "cache"
    assert extract(videos, cache) == 1
    return tree(cache)


def extract(videos: Path, cache: Path, *words: str) -> int:
    return main(["--videos", str(videos), "--cache", str(cache), *SMALL, *words])


def tree(cache: Path) -> Tree:
    names = ("*.safetensors", "manifest.jsonl", "cache.json")
    return {p.name: p.read_bytes() for name in names for p in cache.glob(name)}


def counts(cache: Path, name: str = "run.json") -> dict[str, int]:
    return json.loads((cache / name).read_text())["counts"]


@pytest.mark.parametrize(
    "words",
    [
        ["decode.workers=0"],
        ["decode.workers=3"],
        ["device=cpu,cpu", "decode.workers=2"],
        ["--engine", "ray", "--actors", "2"],
    ],
)
def test_engines_and_worker_counts_produce_byte_identical_caches(
    videos: Path, whole: Tree, tmp_path: Path, words: list[str]
) -> None:
    assert extract(videos, tmp_path, *words) == 1
    assert tree(tmp_path) == whole
    assert counts(tmp_path) == {"found": 5, "done": 4, "skipped": 0, "failed": 1}
    assert print.__module__ == "builtins"  # Ray can replace it
    # These settings do not affect the content of clips, so no clip is extracted again.
    assert extract(videos, tmp_path) == 1
    assert counts(tmp_path) == {"found": 5, "done": 0, "skipped": 4, "failed": 1}


def test_cache_of_several_shards_equals_cache_of_one_run(
    videos: Path, whole: Tree, tmp_path: Path
) -> None:
    found = 0
    for index in (3, 1, 2):
        extract(videos, tmp_path, "--shard", f"{index}/3")
        found += counts(tmp_path, f"run-{index}-of-3.json")["found"]
    assert found == 5
    assert tree(tmp_path) == whole
    lines = (tmp_path / "failures.jsonl").read_text().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["text"]


def test_last_writer_sorts_the_manifest(videos: Path, whole: Tree, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert extract(videos, cache, "--limit", "1") == 0
    script = (
        "import sys; from pathlib import Path; from pipeline.runtime.writers import Writer\n"
        "with Writer(Path(sys.argv[1])): print('ready', flush=True); sys.stdin.read()"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", script, str(cache)], stdin=pipe, stdout=pipe, cwd=ROOT
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with open(cache / "manifest.jsonl", "a") as file:
            file.write("\n")
        assert extract(videos, cache) == 1
        assert tree(cache) != whole  # the other writer is still registered
        other.communicate(b"")
    assert extract(videos, cache) == 1
    assert tree(cache) == whole


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", "¹/²"])
def test_malformed_shard_is_rejected(text: str) -> None:
    with pytest.raises(UsageError, match="i/N with i from 1 to N expected"):
        parse_shard(text)


def test_slurm_shard_is_read_from_the_job_array() -> None:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP", "COUNT")]
    given = dict(zip(names, ("14", "10", "18", "4", "3"), strict=True))
    assert parse_shard("slurm", given) == Shard(2, 3)
    with pytest.raises(UsageError, match="evenly spaced"):
        parse_shard("slurm", given | {"SLURM_ARRAY_TASK_COUNT": "2"})
    with pytest.raises(UsageError, match="SLURM_ARRAY_TASK_ID"):
        parse_shard("slurm", {})
    ids = [f"video{i}" for i in range(200)]
    parts = [[i for i in ids if Shard(n, 4).has(i)] for n in (1, 2, 3, 4)]
    assert sorted(i for part in parts for i in part) == sorted(ids)
    assert min(map(len, parts)) > 30


def test_dry_run_estimates_before_and_after_a_limited_run(
    videos: Path, whole: Tree, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    assert extract(videos, cache, "--dry-run", "detection.width=8") == 0
    out = capsys.readouterr().out
    assert "found 5: 0 already done, 0 would fail, 5 to extract with 15 frames" in out
    assert "assuming 8 pairs per frame" in out
    # 15 frames with 8 pairs and 9 boxes each; Cu = 128, F = 256, O = 36
    per_frame = 8 * (2 * 49 * 128 + 16) + 9 * (2 * (256 + 36) + 28)
    assert f"disk: {15 * per_frame / 1e9:.3g} GB" in out
    assert "run with --limit 20 first" in out
    assert not cache.exists()
    assert extract(videos, cache, "--limit", "2") == 0
    assert counts(cache) == {"found": 2, "done": 2, "skipped": 0, "failed": 0}
    capsys.readouterr()
    extract(videos, cache, "--limit", "2")  # writes no clips and keeps the measurements
    assert extract(videos, cache, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "found 5: 2 already done, 0 would fail, 3 to extract with 9 frames" in out
    assert "as in the last run" in out
    size = sum(p.stat().st_size for p in cache.glob("*.safetensors"))
    assert f"disk: {9 * size / 6 / 1e9:.3g} GB" in out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--limit", "0"], "--limit: a number above 0 expected"),
        (["--time-limit", "-1"], "--time-limit: a number above 0 expected"),
        (["--actors", "2"], "require --engine ray"),
        (["device=cpu,tpu"], "auto, cpu or cuda"),
        (["decode.workers=-1"], "decode.workers"),
        (["decode.memory_gb=-1"], "decode.memory_gb"),
        (["decode.timeout_s=inf"], "decode.timeout_s"),
    ],
)
def test_invalid_options_are_rejected(
    videos: Path, tmp_path: Path, words: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        extract(videos, tmp_path / "cache", *words)
    assert not (tmp_path / "cache").exists()


def test_clip_that_another_command_stores_meanwhile_is_skipped(
    videos: Path, whole: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert extract(videos, tmp_path) == 1
    monkeypatch.setattr(Steps, "is_done", lambda *_: False)  # the clip is stored after this check
    assert extract(videos, tmp_path) == 1
    assert counts(tmp_path) == {"found": 5, "done": 0, "skipped": 4, "failed": 1}
    assert tree(tmp_path) == whole


def test_verify_extracts_damaged_clips_again(videos: Path, whole: Tree, tmp_path: Path) -> None:
    assert extract(videos, tmp_path) == 1
    path = tmp_path / "V1.safetensors"
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert extract(videos, tmp_path, "--verify") == 1
    assert counts(tmp_path)["done"] == 1
    assert tree(tmp_path) == whole


def run_apart(videos: Path, cache: Path) -> subprocess.Popen[bytes]:
    words = ["--videos", str(videos), "--cache", str(cache), *SMALL]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.extract", *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def wait_for(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_next_run_completes_an_interrupted_run(
    videos: Path, whole: Tree, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    with run_apart(videos, tmp_path) as process:
        wait_for(lambda: list(tmp_path.glob("*.safetensors")))
        process.send_signal(number)
        assert process.wait(timeout=60) == code
    if number != signal.SIGKILL:
        assert json.loads((tmp_path / "run.json").read_text())["status"] == "interrupted"
        assert not list(tmp_path.glob(".*tmp*"))
    there = len(list(tmp_path.glob("*.safetensors")))
    known = len(read_manifest(tmp_path))
    assert there - known in (0, 1)
    assert extract(videos, tmp_path) == 1
    assert counts(tmp_path)["skipped"] == known
    assert tree(tmp_path) == whole
    assert not list(tmp_path.glob(".*tmp*"))


class CrashingSteps(Steps):
    """Steps that end their process for two videos and hang for one."""

    def prepare(self, task: Task, sha256: str) -> ExaminedClip | None:
        if task.video_id in ("V2", "V5"):
            os._exit(1)
        if task.video_id == "V1":  # early, so that the others are extracted meanwhile
            time.sleep(600)
        return super().prepare(task, sha256)


def steps_of(videos: Path, cache: Path) -> tuple[Steps, list[Task]]:
    config = load_config(None, [*SMALL, "detection.preset=action-genome"])
    job = prepare_extraction(config, videos, [])
    cache.mkdir(exist_ok=True)
    return job.steps(cache), [Task(video) for video in job.videos]


def test_only_videos_of_crashed_or_hanging_actors_fail(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for i in range(8):
        shutil.copy(videos / "V0.mp4", many / f"V{i}.mp4")
    monkeypatch.setattr(ray, "_START_S", 20.0)
    steps, tasks = steps_of(many, tmp_path / "cache")
    engine = RayEngine(CrashingSteps(**vars(steps)), actors=2, time_limit_s=20)
    outcomes = {outcome.item: outcome for outcome in engine.run(tasks)}
    assert sorted(outcomes) == [f"V{i}" for i in range(8)]
    failed = {k: o.error.reason.value for k, o in outcomes.items() if o.error is not None}
    assert failed == {"V1": "time-limit", "V2": "worker-died", "V5": "worker-died"}
    assert sorted(read_manifest(tmp_path / "cache")) == sorted(set(outcomes) - set(failed))


def test_actors_on_two_nodes_share_the_work(videos: Path, whole: Tree, tmp_path: Path) -> None:
    """The cluster has two raylets on one machine, which are connected like two machines."""
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        nodes.add_node(num_cpus=2)
        words = ["--engine", "ray", "--address", nodes.address, "--actors", "2"]
        assert extract(videos, tmp_path, *words) == 1
    finally:
        nodes.shutdown()
    assert tree(tmp_path) == whole


def test_engine_without_an_address_starts_its_own_cluster(videos: Path, tmp_path: Path) -> None:
    """A running cluster of this machine is not joined, since it may end before the engine."""
    import ray
    from ray.cluster_utils import Cluster

    steps, tasks = steps_of(videos, tmp_path / "cache")
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    try:
        outcomes = RayEngine(steps, actors=1).run(tasks)
        next(outcomes)
        assert ray.get_runtime_context().gcs_address != nodes.address
        outcomes.close()
    finally:
        nodes.shutdown()


def test_address_without_a_cluster_is_rejected(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--address: cannot connect to not an address"):
        extract(videos, tmp_path, "--engine", "ray", "--address", "not an address")


def test_closing_an_engine_early_stops_its_threads(videos: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    steps, tasks = steps_of(videos, tmp_path / "cache")
    outcomes = LocalEngine(steps, [steps.worker(torch.device("cpu"))]).run(tasks)
    next(outcomes)
    outcomes.close()
    assert threading.active_count() == before


def test_one_by_one_is_registered_as_a_writer_until_close(videos: Path, tmp_path: Path) -> None:
    steps, tasks = steps_of(videos, tmp_path / "cache")
    work = OneByOne(steps, torch.device("cpu"))
    assert work(tasks[0]).status == "done"
    assert work(tasks[0]).status == "skipped"
    missing = work(Task(VideoFile(tmp_path / "no.mp4", "no")))
    assert missing.error is not None
    assert missing.error.reason is FailureReason.MISSING_VIDEO
    assert list(steps.cache.glob(".writer*"))
    work.close()
    assert not list(steps.cache.glob(".writer*"))
