"""Tests of the listing of videos, and of the counts and failures that a run records."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.loading import load_config
from pipeline.datasets.video_files import Ids, count_ignored, list_videos
from pipeline.decoding import open_video
from pipeline.engine.stage import Examined, examine, failed_unless_there
from pipeline.engine.tasks import make_tasks
from pipeline.errors import FailureReason, ItemError, UsageError
from pipeline.extract import main
from pipeline.extraction.job import prepare_extraction
from pipeline.runtime.failures import Failures
from tests.pipeline.test_extract import SMALL, call, counts
from tests.pipeline.video_maker import write_clip


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_clip(folder / "a.mp4", 8)
    write_clip(folder / "b.mp4", 8)
    return folder


def failed(cache: Path) -> dict[str, Any]:
    lines = (cache / "failures.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


def test_links_are_followed_and_a_broken_link_is_a_missing_video(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    write_clip(elsewhere / "c.mp4", 8)
    (videos / "sub").symlink_to(elsewhere)
    (elsewhere / "back").symlink_to(videos)  # a loop
    (videos / "gone.mp4").symlink_to(tmp_path / "nothing")
    os.mkfifo(videos / "pipe.mp4")
    (videos / ".hidden").mkdir()
    write_clip(videos / ".hidden" / "d.mp4", 8)
    assert [file.video_id for file in list_videos(videos)] == ["a", "b", "c", "gone"]
    cache = tmp_path / "cache"
    code, _, _ = call(capsys, ["--videos", videos, "--cache", cache, *SMALL])
    assert (code, counts(cache)) == (1, {"found": 4, "done": 3, "skipped": 0, "failed": 1})
    assert failed(cache)["gone"]["reason"] == "missing-video"


def test_linked_folders_of_frames_are_found(tmp_path: Path) -> None:
    (tmp_path / "there" / "L.mp4").mkdir(parents=True)
    (tmp_path / "there" / "L.mp4" / "000001.png").write_bytes(b"")
    (tmp_path / "frames").mkdir()
    (tmp_path / "frames" / "M.mp4").symlink_to(tmp_path / "there" / "L.mp4")
    assert [f.video_id for f in list_videos(tmp_path / "frames", dumped=True)] == ["M"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root can read every folder")
def test_unreadable_folder_is_rejected(videos: Path) -> None:
    (videos / "sub").mkdir(mode=0)
    with pytest.raises(UsageError, match="cannot read the folder"):
        list_videos(videos)


def test_each_further_file_with_the_same_id_has_a_failure(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "xy":
        (videos / name).mkdir()
        write_clip(videos / name / "a.mp4", 8)
    cache = tmp_path / "cache"
    for _ in range(2):
        call(capsys, ["--videos", videos, "--cache", cache, *SMALL])
        assert counts(cache)["failed"] == 2
        assert {i: r["attempts"] for i, r in failed(cache).items()} == {
            "a (x/a.mp4)": 1,
            "a (y/a.mp4)": 1,
        }


def test_ids_from_paths_distinguish_files_of_one_name(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "x" / "y z").mkdir(parents=True)
    write_clip(videos / "x" / "a.mp4", 8)
    write_clip(videos / "x" / "y z" / "a.mp4", 8)
    cache, words = tmp_path / "cache", ["--videos", videos, "--limit", "9"]
    call(capsys, [*words, "--cache", tmp_path / "first", *SMALL])
    message = failed(tmp_path / "first")["a (x/a.mp4)"]["message"]
    assert "rename one of them, or make ids from relative paths with --ids path" in message
    sums = tmp_path / "sums"
    sums.write_text("0" * 64 + "  x/a.mp4\n")
    words += ["--cache", cache, "--ids", "path", "--checksums", sums]
    code, _, _ = call(capsys, [*words, *SMALL])
    assert (code, counts(cache)) == (1, {"found": 4, "done": 3, "skipped": 0, "failed": 1})
    assert failed(cache)["x__a"]["reason"] == "corrupt-video"
    found = [file.video_id for file in list_videos(videos, ids=Ids.PATH)]
    assert found[:3] == ["a", "b", "x__a"]
    assert re.fullmatch(r"x__y_z__a-[0-9a-f]{8}", found[3])
    (tmp_path / "frames" / "run" / "1").mkdir(parents=True)
    (tmp_path / "frames" / "run" / "1" / "000001.png").write_bytes(b"")
    dumped = list_videos(tmp_path / "frames", dumped=True, ids=Ids.PATH)
    assert [file.video_id for file in dumped] == ["run__1"]


def test_ignored_files_are_counted(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (videos / "sub").mkdir()
    for name in ("notes.TXT", "sub/more.txt", "README", ".hidden.srt"):
        (videos / name).write_text("x")
    assert count_ignored(videos) == {".txt": 2, "": 1}
    words = ["--videos", videos, "--cache", tmp_path / "cache"]
    for more in (["--dry-run"], []):
        _, out, _ = call(capsys, [*words, *more, *SMALL])
        assert "ignored, no videos: 2 .txt, 1 without suffix" in out
    record = json.loads((tmp_path / "cache" / "run.json").read_text())
    assert record["ignored"] == {".txt": 2, "": 1}


@pytest.mark.parametrize("suffix", [".mts", ".m2ts", ".vob", ".asf", ".f4v", ".mxf"])
def test_further_containers_are_read(videos: Path, tmp_path: Path, suffix: str) -> None:
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("needs the program ffmpeg")
    path = tmp_path / "clips" / f"c{suffix}"
    path.parent.mkdir()
    codec = {".vob": "mpeg2video", ".mxf": "mpeg2video", ".asf": "wmv2"}.get(suffix, "libx264")
    words = ["-f", "lavfi", "-i", "testsrc2=size=192x144:rate=25:duration=1", "-c:v", codec]
    subprocess.run([program, "-v", "error", *words, str(path)], check=True)
    (video,) = list_videos(path.parent)
    assert open_video(video.path).read([0, 12, 24]).frames.shape == (3, 3, 144, 192)


def test_run_on_another_folder_keeps_failures_of_the_first_folder(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second, cache = tmp_path / "second", tmp_path / "cache"
    second.mkdir()
    (videos / "bad1.mp4").write_bytes(b"no video")
    (second / "bad2.mp4").write_bytes(b"no video either")
    for folder in (videos, second):
        call(capsys, ["--videos", folder, "--cache", cache, *SMALL])
    assert failed(cache).keys() == {"bad1", "bad2"}
    (second / "bad2.mp4").unlink()
    write_clip(second / "e.mp4", 8)
    call(capsys, ["--videos", second, "--cache", cache, *SMALL])
    assert failed(cache).keys() == {"bad1"}


def test_video_with_a_clip_in_the_cache_is_not_a_failure(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    job = prepare_extraction(load_config(None, SMALL), videos, [])
    steps, error = job.steps(cache), ItemError(FailureReason.DECODE_TIMEOUT, "too slow")
    cache.mkdir()
    task = make_tasks(steps, job.videos, Failures(cache), retry=False)[0]
    found = examine(steps, task)
    assert isinstance(found, Examined)
    assert failed_unless_there(steps, found, error).status == "failed"
    cache.rmdir()
    words = ["--videos", videos, "--cache", cache, *SMALL]
    call(capsys, words)
    assert failed_unless_there(steps, found, error).status == "skipped"
    other = replace(found, sha256="of another video")
    assert failed_unless_there(steps, other, error).status == "failed"
    # A failure that another command added is removed.
    late = Failures(cache)
    late.add("a", error, stage="extract", sha256=found.sha256, fingerprint=task.failure_fingerprint)
    assert call(capsys, words)[0] == 0
    assert (counts(cache)["skipped"], failed(cache)) == (2, {})


def test_remove_deletes_a_failure_that_another_writer_added(tmp_path: Path) -> None:
    ours, theirs = Failures(tmp_path), Failures(tmp_path)
    theirs.add("a", ItemError(FailureReason.NO_FRAMES, "n"), stage="s", sha256="", fingerprint="")
    ours.remove("a")
    assert failed(tmp_path) == {}


def test_failed_videos_are_retried_after_a_raised_limit(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    words = ["--videos", videos, "--cache", cache, *SMALL]
    code, out, _ = call(capsys, [*words, "decode.timeout_s=0.0001"])
    assert (code, counts(cache)["failed"]) == (1, 2)
    assert "use --retry-failed to try them again" in out
    call(capsys, [*words, "decode.timeout_s=0.0001"])
    assert {row["attempts"] for row in failed(cache).values()} == {1}
    assert call(capsys, words)[0] == 0
    assert counts(cache)["done"] == 2


def test_dry_run_rejects_the_same_inputs_as_the_extraction(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    words = ["--videos", videos, "--cache", cache, *SMALL]
    call(capsys, words)
    for more in ([], ["--dry-run"]):
        code, _, err = call(capsys, [*words, *more, "union=none"])
        assert code == 2
        assert "was created with settings.union=full" in err
    (cache / "cache.json").unlink()
    code, _, err = call(capsys, [*words, "--dry-run"])
    assert (code, "has clips but no cache.json" in err) == (2, True)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--max-failures", "-1"], "--max-failures: 0 or more expected, got -1"),
        (["--time-limit", "5"], "require --engine ray"),
        (
            ["detection.backend=detectron2", "detection.config=a.yaml", "detection.compile=true"],
            "detection.compile: not supported by detection.backend=detectron2",
        ),
    ],
)
def test_options_without_effect_are_rejected(
    videos: Path, tmp_path: Path, more: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = SMALL if more[0].startswith("--") else ["detection.weights=a.pkl"]
    code, _, err = call(capsys, ["--videos", videos, "--cache", tmp_path / "c", *words, *more])
    assert code == 2
    assert says in err
    assert not (tmp_path / "c").exists()


def test_run_record_stores_paths_that_are_not_utf8(videos: Path, tmp_path: Path) -> None:
    odd, cache = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff")), tmp_path / "cache"
    videos.rename(odd)
    assert main(["--videos", str(odd), "--cache", str(cache), *SMALL]) == 0
    tree = json.loads((cache / "run.json").read_text(encoding="utf-8"))
    assert tree["argv"][1] == str(odd)
    assert tree["counts"]["done"] == 2
