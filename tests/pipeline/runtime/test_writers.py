import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.cache import folder as cache_folder
from pipeline.cache.folder import clip_path, store_clip
from pipeline.cache.manifest import Manifest, append_manifest, read_manifest, settle_manifest
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime import files, writers
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import host_mark, write_temporary
from pipeline.runtime.run_record import Counts
from pipeline.runtime.writers import Writer, folder_lock, living_writers, sweep_temporary_files
from tests.pipeline.clips import random_clip

ROOT = Path(__file__).resolve().parents[3]
LIVING = """
import sys, time
from pathlib import Path
from pipeline.runtime.files import write_temporary
from pipeline.runtime.writers import Writer
folder = Path(sys.argv[1])
with Writer(folder):
    write_temporary(folder / "clip", b"half")
    print("ready", flush=True)
    time.sleep(60)
"""


def test_sweep_removes_only_files_of_ended_writers(tmp_path: Path) -> None:
    words = [sys.executable, "-c", LIVING, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert living_writers(tmp_path) == [f"{host_mark()}-{process.pid}"]
        assert sweep_temporary_files(tmp_path) == []
        process.kill()
    assert living_writers(tmp_path) == []
    assert len(sweep_temporary_files(tmp_path)) == 2
    assert list(tmp_path.iterdir()) == []


def test_file_older_than_its_process_is_a_leftover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """According to the file times, process 1 started after `old` and before `new` was written."""
    old, new = (tmp_path / f".{name}.tmp-{host_mark()}-1-00000000" for name in ("old", "new"))
    for path in (old, new):
        path.touch()
    os.utime(old, (1, 1))
    assert sweep_temporary_files(tmp_path) == [old]
    # If the start time of a process is not known, its lock is used.
    monkeypatch.setattr(writers, "_start_time", lambda _: None)
    assert sweep_temporary_files(tmp_path) == [new]


def test_sweep_keeps_files_of_a_running_writer_without_working_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    words = [sys.executable, "-c", LIVING, str(tmp_path)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert sweep_temporary_files(tmp_path) == []
        process.kill()


def test_write_succeeds_if_its_temporary_file_is_removed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = iter([True])

    def swept(path: Path, data: bytes) -> Path:
        temporary = write_temporary(path, data)
        if next(first, False):
            temporary.unlink()
        return temporary

    monkeypatch.setattr(files, "write_temporary", swept)
    files.write_atomically(tmp_path / "run.json", b"{}")
    assert (tmp_path / "run.json").read_bytes() == b"{}"
    with pytest.raises(FileNotFoundError):
        files.write_atomically(tmp_path / "no folder" / "run.json", b"{}")


def test_sweep_removes_old_files_of_another_host(tmp_path: Path) -> None:
    young, old = (tmp_path / f".{name}.tmp-00000000-7-00000000" for name in ("young", "old"))
    for path in (young, old):
        path.touch()
    os.utime(old, (time.time() - 3600,) * 2)
    assert sweep_temporary_files(tmp_path) == [old]


def test_sweep_keeps_files_with_other_names(tmp_path: Path) -> None:
    for name in (".x.tmp-1-2", "clip.tmp-00000000-7-00000000", ".lock", "notes.tmp"):
        (tmp_path / name).touch()
    assert sweep_temporary_files(tmp_path) == []


def test_running_writers_exclude_this_process(tmp_path: Path) -> None:
    with Writer(tmp_path):
        kept = write_temporary(tmp_path / "clip", b"half")
        assert living_writers(tmp_path) == []
        assert sweep_temporary_files(tmp_path) == []
        assert kept.is_file()
    assert not list(tmp_path.glob(".writer*"))


def test_line_appended_after_a_truncated_line_is_complete(tmp_path: Path) -> None:
    append_manifest(tmp_path, {"id": "a"})
    with open(tmp_path / "manifest.jsonl", "a") as file:
        file.write('{"id": "b", "sh')
    append_manifest(tmp_path, {"id": "c"})
    assert sorted(read_manifest(tmp_path)) == ["a", "c"]


def test_manifest_line_with_a_flipped_bit_is_ignored(tmp_path: Path) -> None:
    row = {"id": "a", "sha256": "0" * 64, "frames": 3}
    append_manifest(tmp_path, row)
    path = tmp_path / "manifest.jsonl"
    whole = path.read_bytes()
    assert read_manifest(tmp_path) == {"a": row}
    for number in range(8 * (len(whole) - 1)):
        data = bytearray(whole)
        data[number // 8] ^= 1 << number % 8
        path.write_bytes(data)
        assert read_manifest(tmp_path) == {}, (number, bytes(data))


def test_invalid_manifest_lines_are_ignored(tmp_path: Path) -> None:
    lines = ("[]", "7", '"a"', "null", '{"id": "a"}', '{"line": 1}', "\\", "[" * 100_000)
    (tmp_path / "manifest.jsonl").write_text("\n".join(lines))
    assert read_manifest(tmp_path) == {}


def test_manifest_reads_lines_that_other_processes_add_or_rewrite(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert manifest.rows() == {}
    append_manifest(tmp_path, {"id": "b", "n": 1})
    append_manifest(tmp_path, {"id": "a", "n": 1})
    assert manifest.rows()["b"]["n"] == 1
    append_manifest(tmp_path, {"id": "b", "n": 2})
    assert {k: row["n"] for k, row in manifest.rows().items()} == {"a": 1, "b": 2}
    settle_manifest(tmp_path, {})
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["n"]) for line in lines] == [
        ("a", 1),
        ("b", 2),
    ]
    append_manifest(tmp_path, {"id": "a", "n": 3})
    assert {k: row["n"] for k, row in manifest.rows().items()} == {"a": 3, "b": 2}


def test_settle_manifest_restores_lost_lines(tmp_path: Path) -> None:
    append_manifest(tmp_path, {"id": "a", "n": 1})
    settle_manifest(tmp_path, {"a": {"id": "a", "n": 0}, "b": {"id": "b", "n": 1}})
    assert {k: row["n"] for k, row in read_manifest(tmp_path).items()} == {"a": 1, "b": 1}


def test_clip_is_stored_if_its_temporary_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swept(path: Path, data: bytes) -> Path:
        temporary = write_temporary(path, data)
        temporary.unlink()
        return temporary

    monkeypatch.setattr(cache_folder, "write_temporary", swept)
    row = store_clip(tmp_path, random_clip([3, 2]))
    assert clip_path(tmp_path, row["id"]).stat().st_size == row["bytes"]


def test_two_runs_share_one_failures_file(tmp_path: Path) -> None:
    error = ItemError(FailureReason.CORRUPT_VIDEO, "x: broken")
    ours, theirs = Failures(tmp_path), Failures(tmp_path)
    ours.add("a", error, stage="extract", sha256="1", fingerprint="s")
    theirs.add("b", error, stage="extract", sha256="2", fingerprint="s")
    ours.add("a", error, stage="extract", sha256="1", fingerprint="s")
    assert (Failures(tmp_path).known("a") or {})["attempts"] == 2
    theirs.remove("b")
    found = Failures(tmp_path)
    assert found.known("b") is None
    found.keep_only(set())
    assert (tmp_path / "failures.jsonl").read_text() == ""


def test_concurrent_appends_lose_no_lines(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for i in range(20):
            append_manifest(tmp_path, {"id": f"{number}-{i}"})

    threads = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_manifest(tmp_path)) == 80


def test_folder_lock_that_cannot_be_acquired_is_ignored(tmp_path: Path) -> None:
    (tmp_path / ".lock").mkdir()
    with folder_lock(tmp_path):
        pass


def test_check_raises_for_pending_items() -> None:
    Counts(found=2, done=1, failed=1).check()
    with pytest.raises(AssertionError, match="pending 1"):
        Counts(found=2, done=1).check()
