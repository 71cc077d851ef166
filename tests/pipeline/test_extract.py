import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from pipeline.cache.reader import ClipReader, load_clip
from pipeline.datasets.charades.release import read_annotations
from pipeline.datasets.video_files import video_id_of
from pipeline.datasets.vocabulary import load_vocabulary
from pipeline.extract import main
from pipeline.runtime.command_line import run_command
from tests.pipeline.dataset_maker import write_dataset

SMALL = [
    "detection.weights=random",
    "detection.depth=26",
    "detection.width=4",
    "detection.short_side=48",
    "detection.proposals=10",
    "frames.num=3",
    "device=cpu",
]


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[Path, Path]:
    return write_dataset(tmp_path)


def call(capsys: pytest.CaptureFixture[str], words: Sequence[object]) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        run_command(main, [str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stopped.value.code or 0), out, err


def counts(cache: Path) -> dict[str, int]:
    tree = json.loads((cache / "run.json").read_text())
    return tree["counts"]


def test_second_run_skips_all_videos_and_a_new_cache_is_byte_identical(
    tmp_path: Path, dataset: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    words = ["--videos", dataset[0], "--cache", cache, *SMALL]
    assert call(capsys, words)[0] == 0
    assert counts(cache) == {"found": 2, "done": 2, "skipped": 0, "failed": 0}
    clip = load_clip(cache / "A0001.safetensors")
    assert clip.frame_index.tolist() == [6, 20, 33]
    assert clip.header.warnings == ("RANDOM_WEIGHTS",)
    assert clip.header.actions is None
    assert clip.box_features.shape[1] == 128
    assert clip.union_features.shape[1:] == (64, 7, 7)
    before = {p.name: p.read_bytes() for p in cache.glob("*.safetensors")}
    code, out, _ = call(capsys, words)
    assert (code, counts(cache)["skipped"]) == (0, 2)
    assert "nothing to do" in out
    shutil.rmtree(cache)
    call(capsys, words)
    assert before == {p.name: p.read_bytes() for p in cache.glob("*.safetensors")}


def test_clips_with_annotated_boxes_contain_annotated_relations(
    tmp_path: Path, dataset: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    words = ["--videos", dataset[0], "--annotations", dataset[1], "--cache", cache, *SMALL]
    code, _, _ = call(capsys, [*words, "boxes=ground-truth", "relations=ground-truth"])
    assert code == 0
    clip = load_clip(cache / "A0001.safetensors")
    assert clip.frame_index.tolist() == [2, 10, 29]
    assert clip.boxes.tolist() == [[2, 4, 40, 47], [10, 8, 30, 24]] * 3
    assert clip.pairs.tolist() == [[0, 1]] * 3
    read = read_annotations([dataset[1]], load_vocabulary("action_genome"))
    expected = read.videos["A0001"].frames[0].predicates[1].float()
    assert torch.equal(clip.predicates["ground-truth"], expected.expand(3, -1))
    assert clip.header.split == "train"
    assert clip.header.actions == ((1, 0.0, 1.0), (3, 0.5, 1.6))
    info = json.loads((cache / "cache.json").read_text())
    assert info["classes"][1] == ["c001", "doing thing 1"]


def test_broken_files_fail_with_a_reason_and_others_are_extracted(
    tmp_path: Path, dataset: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    videos, cache = dataset[0], tmp_path / "cache"
    whole = (videos / "A0001.mp4").read_bytes()
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("no video")
    (videos / "cut.mp4").write_bytes(whole[: len(whole) * 6 // 10])
    (videos / "A0001.mkv").write_bytes(whole)
    (videos / "my clip; rm -rf.mp4").write_bytes(whole)
    (videos / "notes.txt").write_text("not looked at")
    words = ["--videos", videos, "--cache", cache, *SMALL]
    assert call(capsys, words)[0] == 1
    assert counts(cache) == {"found": 7, "done": 3, "skipped": 0, "failed": 4}
    rows = [json.loads(line) for line in (cache / "failures.jsonl").read_text().splitlines()]
    assert {row["id"]: row["reason"] for row in rows} == {
        "empty": "unreadable-video",
        "text": "unreadable-video",
        "cut": "truncated-video",
        "A0001 (A0001.mp4)": "duplicate-id",
    }
    code, out, _ = call(capsys, words)
    assert code == 1
    assert counts(cache) == {"found": 7, "done": 0, "skipped": 3, "failed": 4}
    assert "no new clips" in out
    (videos / "text.mp4").write_bytes(whole)
    call(capsys, words)
    assert counts(cache) == {"found": 7, "done": 1, "skipped": 3, "failed": 3}
    assert call(capsys, [*words, "--max-failures", "2"])[0] == 3
    assert call(capsys, [*words, "--max-failures", "3"])[0] == 1
    assert not [p for p in cache.iterdir() if "tmp" in p.name]


def test_changed_videos_and_damaged_clips_are_extracted_again(
    tmp_path: Path, dataset: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    videos, cache = dataset[0], tmp_path / "cache"
    words = ["--videos", videos, "--cache", cache, *SMALL]
    call(capsys, words)
    old = ClipReader(cache / "A0001.safetensors").header.fingerprint
    shutil.copy(videos / "B0002.mp4", videos / "A0001.mp4")
    with open(videos / "A0001.mp4", "ab") as file:
        file.write(b"\0\0\0\x08free")
    (cache / "B0002.safetensors").write_bytes(b"damaged")
    call(capsys, words)
    assert counts(cache)["done"] == 2
    assert ClipReader(cache / "A0001.safetensors").header.fingerprint != old


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--videos", "{absent}"], "--videos: folder not found"),
        (["--videos", "{empty}"], "--videos: no video found"),
        (["--videos", "{videos}", "detection.weights=null"], "detection.weights=random"),
        (
            ["--videos", "{videos}", "detection.weights=absent.safetensors"],
            "weights file not found",
        ),
        (["--videos", "{videos}", "detection.weightz=x"], "did you mean 'detection.weights'?"),
        (["--videos", "{videos}", "boxes=ground-truth"], "frames expected below --annotations"),
        (["--videos", "{videos}", "relations=predicted"], "relation_predictor.weights: not set"),
        (["--videos", "{videos}", "relations=ground-truth"], "annotated frames expected below"),
        (["--videos", "{videos}", "--annotations", "{empty}"], "found none"),
        (["--videos", "{videos}", "--config", "absent.yaml"], "--config: file not found"),
        (["--videos", "{videos}", "device=cuda:99x"], "device"),
        ([], "--videos"),
    ],
)
def test_invalid_command_prints_one_error_line_and_exits_with_code_2(
    tmp_path: Path,
    dataset: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    says: str,
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"absent": tmp_path / "no", "empty": tmp_path / "empty", "videos": dataset[0]}
    filled = [word.format(**places) if "{" in word else word for word in words]
    code, out, err = call(capsys, ["--cache", tmp_path / "cache", *SMALL, *filled])
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert (code, out, len(lines)) == (2, "", 1)
    assert says in lines[0]
    assert not (tmp_path / "cache").exists()


def test_cache_with_other_settings_is_rejected_and_the_error_names_the_setting(
    tmp_path: Path, dataset: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--videos", dataset[0], "--cache", tmp_path / "cache", *SMALL]
    call(capsys, words)
    code, _, err = call(capsys, [*words, "frames.num=5"])
    assert code == 2
    assert "settings.frames=3, but this command has 5" in err


def test_unusual_file_names_have_distinct_short_ids() -> None:
    assert video_id_of(Path("46GP8.mp4")) == "46GP8"
    odd = {video_id_of(Path(n + ".mp4")) for n in ("a b", "a_b", "a  b", "é", "..", "x" * 300)}
    assert len(odd) == 6
    assert all(len(name) <= 80 for name in odd)
