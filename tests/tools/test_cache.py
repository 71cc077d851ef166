"""Tests of `tools.cache` on a small cache."""

import shutil
from pathlib import Path

import pytest
import torch

from pipeline import extract
from pipeline.cache import folder as cache_folder
from pipeline.cache.listing import list_clips
from pipeline.cache.manifest import Manifest, read_manifest
from pipeline.cache.reader import load_clip
from pipeline.errors import UsageError
from pipeline.weights.detectors import ResolvedDetector
from tests.conftest import CONFIG, SMALL, World
from tests.pipeline.cache_maker import append_tree, forge, manifest_row
from tests.pipeline.predictor_files import predictor_file
from tools import cache


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Path:
    return Path(shutil.copytree(world.cache, tmp_path / "cache"))


def test_intact_cache_is_listed_shown_and_verified(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cache.main(["ls", str(copied)]) == 0
    out = capsys.readouterr().out
    first = sorted(read_manifest(copied))[0]
    assert first in out
    assert "11 clips" in out
    assert cache.main(["show", str(copied), first]) == 0
    out = capsys.readouterr().out
    assert '"fingerprint"' in out
    assert "union_features" in out
    assert cache.main(["verify", str(copied)]) == 0
    assert "11 clips, 0 bad" in capsys.readouterr().out


def test_clip_with_a_flipped_bit_is_detected_pruned_and_extracted_again(
    world: World, copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted(copied.glob("*.safetensors"))[3]
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(bytes(data))
    (copied / "UNLISTED.safetensors").write_bytes(b"no clip")
    assert cache.main(["verify", str(copied)]) == 1
    out = capsys.readouterr().out
    assert path.stem in out
    assert "12 clips, 2 bad" in out
    assert cache.main(["prune", str(copied), "--dry-run"]) == 0
    assert path.exists()
    assert cache.main(["prune", str(copied)]) == 0
    assert not path.exists()
    assert not (copied / "UNLISTED.safetensors").exists()
    assert cache.main(["verify", str(copied)]) == 0
    data_words = ["--videos", str(world.videos), "--annotations", str(world.annotations)]
    words = ["--config", CONFIG, *data_words, "--cache", str(copied), *SMALL]
    assert extract.main(words) == 0
    assert path.read_bytes() == (world.cache / path.name).read_bytes()


def test_invalid_manifest_lines_and_folders_are_ignored(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = sorted(read_manifest(copied))[0]
    append_tree(copied, read_manifest(copied)[first].to_dict() | {"frames": None, "boxes": [1]})
    Manifest(copied).append(manifest_row("../outside"))
    Manifest(copied).append(manifest_row("GONE"))
    (copied / "FOLDER.safetensors").mkdir()
    (copied / "a\x1b[31m.safetensors").write_bytes(b"control characters")
    (tmp_path / "outside.safetensors").write_bytes(b"mine")
    assert cache.main(["ls", str(copied)]) == 0
    out = capsys.readouterr().out
    assert "12 clips" in out
    assert "outside" not in out
    assert cache.main(["verify", str(copied)]) == 1
    out = capsys.readouterr().out
    assert "13 clips, 2 bad" in out
    assert "\x1b" not in out
    assert cache.main(["prune", str(copied)]) == 0
    out = capsys.readouterr().out
    assert "removed GONE" not in out
    assert (copied / "FOLDER.safetensors").is_dir()
    assert (tmp_path / "outside.safetensors").read_bytes() == b"mine"
    assert cache.main(["verify", str(copied)]) == 0


def test_predicted_relations_are_added_without_videos(
    world: World, copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = predictor_file(tmp_path / "p.safetensors", 128, 64)
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    assert cache.main(["add", str(copied), *asked]) == 0
    assert "done 11, skipped 0" in capsys.readouterr().out
    assert cache.main(["add", str(copied), *asked]) == 0
    assert "done 0, skipped 11" in capsys.readouterr().out
    clips, bad = list_clips(copied)
    assert not bad
    assert all(clip.relations == ("ground-truth", "predicted") for clip in clips)
    # Extraction adds the same relations and therefore changes no clip.
    data = ["--videos", str(world.videos), "--annotations", str(world.annotations)]
    before = {c.video_id: c.path.read_bytes() for c in clips}
    words = ["--config", CONFIG, *data, "--cache", str(copied), *SMALL, *asked]
    assert extract.main(words) == 0
    assert {c.video_id: c.path.read_bytes() for c in clips} == before
    assert load_clip(clips[0].path).header.predictor is not None


def test_relations_are_added_to_valid_clips_despite_invalid_clips(
    copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted(read_manifest(copied))[:2]
    forge(
        copied, first, pairs=torch.full_like(load_clip(copied / f"{first}.safetensors").pairs, 99)
    )
    features = load_clip(copied / f"{second}.safetensors").box_features
    forge(copied, second, box_features=(features * torch.nan).half())
    weights = predictor_file(tmp_path / "p.safetensors", 128, 64)
    asked = ["relations=predicted", f"relation_predictor.weights={weights}", "device=cpu"]
    assert cache.main(["add", str(copied), *asked]) == 1
    out = capsys.readouterr().out
    assert "found 11, done 9, skipped 0, failed 2" in out
    assert "pairs: box rows of the same frame expected" in out
    assert f"{second}: finite box_features expected" in out


@pytest.mark.parametrize("moment", ["Manifest", "write_atomically"])
def test_interrupted_addition_leaves_intact_clips(
    world: World, copied: Path, tmp_path: Path, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupt before or after the manifest line is written, then resume without a detector."""
    weights = predictor_file(tmp_path / "p.safetensors", 128, 64)
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    whole = Path(shutil.copytree(copied, tmp_path / "whole"))
    assert cache.main(["add", str(whole), *asked]) == 0

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache_folder, moment, killed)
    with pytest.raises(KeyboardInterrupt):
        cache.main(["add", str(copied), *asked])
    monkeypatch.undo()
    clips, bad = list_clips(copied)
    assert (len(clips), bad) == (11, {})
    monkeypatch.setattr(ResolvedDetector, "load", killed)
    data = ["--videos", str(world.videos), "--annotations", str(world.annotations)]
    words = ["--config", CONFIG, *data, "--cache", str(copied), *SMALL, *asked]
    assert extract.main(words) == 0
    for clip in clips:
        assert clip.path.read_bytes() == (whole / clip.path.name).read_bytes()


def test_prune_removes_no_file_outside_the_cache(copied: Path) -> None:
    outside = copied.parent / "outside.safetensors"
    outside.write_bytes(b"precious")
    Manifest(copied).append(manifest_row("../outside"))
    assert cache.main(["prune", str(copied)]) == 0
    assert outside.read_bytes() == b"precious"
    assert "../outside" not in read_manifest(copied)


def test_invalid_arguments_are_rejected(copied: Path, tmp_path: Path) -> None:
    for words, message in (
        (["ls", str(tmp_path)], "cache.json not found"),
        (["show", str(copied)], "show requires a video id"),
        (["show", str(copied), "UNKNOWN"], "id of a video"),
        (["ls", str(copied), "seed=3"], "only add accepts settings"),
        (["add", str(copied)], "relations=predicted"),
        (["add", str(copied), "relations=predicted"], "relation_predictor.weights: not set"),
        (["add", str(copied), "relations=predicted", "frames.num=3"], "got 'frames.num=3'"),
    ):
        with pytest.raises(UsageError, match=message):
            cache.main(words)
    weights = predictor_file(tmp_path / "p.safetensors", 64, 64)
    asked = ["relations=predicted", f"relation_predictor.weights={weights}"]
    with pytest.raises(UsageError, match="box features of 128"):
        cache.main(["add", str(copied), *asked])
    assert list_clips(copied)[0][0].relations == ("ground-truth",)
