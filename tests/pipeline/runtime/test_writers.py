import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.cache import folder as cache_folder
from pipeline.cache.folder import clip_path, store_clip
from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.errors import FailureReason, ItemError
from pipeline.runtime import files, writers
from pipeline.runtime.failures import Failures
from pipeline.runtime.files import host_mark, write_temporary
from pipeline.runtime.run_record import Counts
from pipeline.runtime.writers import Writer, folder_lock, living_writers, sweep_temporary_files
from tests.pipeline.cache_maker import append_tree, manifest_row
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
    with FileLock(tmp_path / f".writer.tmp-{host_mark()}-1"):
        assert sweep_temporary_files(tmp_path) == []
    assert new in sweep_temporary_files(tmp_path)
    assert list(tmp_path.iterdir()) == []


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


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_sweep_removes_files_of_a_killed_writer_on_a_file_system_without_locks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with Writer(tmp_path):
        kept = write_temporary(tmp_path / "clip", b"half")
        (tmp_path / f".writer.tmp-{host_mark()}-4194304").touch()
        (tmp_path / f".clip.tmp-{host_mark()}-4194304-00000000").touch()
        assert len(sweep_temporary_files(tmp_path)) == 2
        assert kept.is_file()
    assert living_writers(tmp_path) == []


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


def test_old_files_of_a_running_writer_on_another_host_are_kept(tmp_path: Path) -> None:
    """The lock of the marker file shows that a process of another host is running."""
    mark = tmp_path / ".writer.tmp-00000000-7"
    held = tmp_path / ".held.tmp-00000000-7-00000000"
    left = tmp_path / ".left.tmp-00000000-8-00000000"
    with FileLock(mark):
        for path in (mark, held, left):
            path.touch()
            os.utime(path, (time.time() - 3600,) * 2)
        assert living_writers(tmp_path) == ["00000000-7"]
        assert sweep_temporary_files(tmp_path) == [left]
    assert living_writers(tmp_path) == []
    assert sorted(sweep_temporary_files(tmp_path)) == [held, mark]


def test_file_of_an_ended_process_with_the_pid_of_this_process_is_a_leftover(
    tmp_path: Path,
) -> None:
    """Processes of a restarted container often have the same host name and PIDs as before."""
    kept = write_temporary(tmp_path / "clip", b"half")
    old = tmp_path / f".clip.tmp-{files.writer_token()}-00000000"
    old.touch()
    os.utime(old, (1, 1))
    assert sweep_temporary_files(tmp_path) == [old]
    assert kept.is_file()


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads /proc")
def test_start_time_of_a_process_is_known() -> None:
    with subprocess.Popen(["sleep", "5"]) as process:
        now = time.time()
        started = writers._start_time(process.pid)
        process.kill()
    assert started == pytest.approx(now, abs=0.5)
    with pytest.raises(ProcessLookupError):
        writers._start_time(process.pid)


def test_sweep_keeps_files_with_other_names(tmp_path: Path) -> None:
    for name in (
        ".x.tmp-1-2",
        ".x.tmp-00000000-12345678901-00000000",
        "clip.tmp-00000000-7-00000000",
        ".lock",
        "notes.tmp",
    ):
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
    Manifest(tmp_path).append(manifest_row("a"))
    with open(tmp_path / "manifest.jsonl", "a") as file:
        file.write('{"id": "b", "sh')
    Manifest(tmp_path).append(manifest_row("c"))
    assert sorted(read_manifest(tmp_path)) == ["a", "c"]


def test_manifest_line_with_a_flipped_bit_is_ignored(tmp_path: Path) -> None:
    row = manifest_row("a")
    Manifest(tmp_path).append(row)
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


@pytest.mark.parametrize(
    "change",
    [
        {"frames": None},
        {"boxes": [1]},
        {"bytes": "7"},
        {"pairs": True},
        {"sha256": 3},
        {"split": 1},
    ],
)
def test_manifest_line_with_a_wrong_type_is_ignored(change: dict, tmp_path: Path) -> None:
    Manifest(tmp_path).append(manifest_row("a"))
    append_tree(tmp_path, manifest_row("a", frames=9).to_dict() | change)
    append_tree(tmp_path, {"id": "b", "sha256": "0" * 64})
    assert read_manifest(tmp_path) == {"a": manifest_row("a")}


def test_lines_of_other_versions_are_kept(tmp_path: Path) -> None:
    """Earlier versions wrote no split; later versions may write other fields."""
    tree = manifest_row("a").to_dict()
    del tree["split"]
    append_tree(tmp_path, tree)
    append_tree(tmp_path, manifest_row("b").to_dict() | {"colour": "blue"})
    before = (tmp_path / "manifest.jsonl").read_bytes()
    rows = read_manifest(tmp_path)
    assert (rows["a"].split, rows["b"].other) == ("unknown", {"colour": "blue"})
    Manifest(tmp_path).write({"a": rows["a"]})
    Manifest(tmp_path).write(rows)
    assert (tmp_path / "manifest.jsonl").read_bytes() == before


def test_manifest_reads_lines_that_other_processes_add_or_rewrite(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path)
    assert manifest.rows() == {}
    Manifest(tmp_path).append(manifest_row("b", frames=1))
    Manifest(tmp_path).append(manifest_row("a", frames=1))
    assert manifest.rows()["b"].frames == 1
    Manifest(tmp_path).append(manifest_row("b", frames=2))
    assert {k: row.frames for k, row in manifest.rows().items()} == {"a": 1, "b": 2}
    Manifest(tmp_path).settle({})
    lines = (tmp_path / "manifest.jsonl").read_text().splitlines()
    assert [(json.loads(line)["id"], json.loads(line)["frames"]) for line in lines] == [
        ("a", 1),
        ("b", 2),
    ]
    Manifest(tmp_path).append(manifest_row("a", frames=3))
    assert {k: row.frames for k, row in manifest.rows().items()} == {"a": 3, "b": 2}


def test_manifest_is_read_again_if_a_longer_file_has_its_inode_number(tmp_path: Path) -> None:
    manifest, path = Manifest(tmp_path), tmp_path / "manifest.jsonl"
    manifest.append(manifest_row("b"))
    assert [*manifest.rows()] == ["b"]
    other = tmp_path / "other"
    other.mkdir()
    for item in ("a", "b", "c"):
        Manifest(other).append(manifest_row(item))
    path.write_bytes((other / path.name).read_bytes())  # keeps the inode number
    assert [*manifest.rows()] == ["a", "b", "c"]
    path.write_bytes(b"{")
    assert manifest.rows() == {}
    manifest.append(manifest_row("d"))
    assert [*manifest.rows()] == ["d"]


def test_settle_manifest_restores_lost_lines(tmp_path: Path) -> None:
    Manifest(tmp_path).append(manifest_row("a", frames=1))
    Manifest(tmp_path).settle({"a": manifest_row("a", frames=0), "b": manifest_row("b", frames=1)})
    assert {k: row.frames for k, row in read_manifest(tmp_path).items()} == {"a": 1, "b": 1}


def test_clip_is_stored_if_its_temporary_file_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def swept(path: Path, data: bytes) -> Path:
        temporary = write_temporary(path, data)
        temporary.unlink()
        return temporary

    monkeypatch.setattr(cache_folder, "write_temporary", swept)
    row = store_clip(tmp_path, random_clip([3, 2]))
    assert clip_path(tmp_path, row.id).stat().st_size == row.bytes


def test_two_runs_share_one_failures_file(tmp_path: Path) -> None:
    error = ItemError(FailureReason.CORRUPT_VIDEO, "x: broken")
    ours, theirs = Failures(tmp_path), Failures(tmp_path)
    ours.add("a", error, stage="extract", sha256="1", fingerprint="s")
    theirs.add("b", error, stage="extract", sha256="2", fingerprint="s")
    ours.add("a", error, stage="extract", sha256="1", fingerprint="s")
    known = Failures(tmp_path).known("a")
    assert known is not None
    assert known.attempts == 2
    theirs.remove("b")
    found = Failures(tmp_path)
    assert found.known("b") is None
    found.keep_only(set())
    assert (tmp_path / "failures.jsonl").read_text() == ""


def test_concurrent_appends_lose_no_lines(tmp_path: Path) -> None:
    def write(number: int) -> None:
        for i in range(20):
            Manifest(tmp_path).append(manifest_row(f"{number}-{i}"))

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
