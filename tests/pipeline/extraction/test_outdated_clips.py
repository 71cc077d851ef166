"""Clips of videos that become faulty after an extraction."""

import json
from pathlib import Path

import pytest

from pipeline.cache.folder import clip_path, read_cache_info
from pipeline.cache.listing import list_clips
from pipeline.extract import main as extract
from pipeline.runtime.failures import Failures
from pipeline.samples.folds import Fold
from pipeline.samples.listing import list_samples
from tests.pipeline.dataset_maker import write_dataset
from tests.pipeline.datasets.cad120.release_maker import VIDEOS, video_path, write_release
from tests.pipeline.test_extract import SMALL
from tools.cache import main as tools_cache

LANGUAGE = "configs/cad120_language.yaml"


def extract_release(root: Path, cache: Path) -> int:
    words = ["--annotations", str(root), "--cache", str(cache), "device=cpu"]
    return extract(["--config", LANGUAGE, *words])


def ids(cache: Path) -> set[str]:
    return {clip.video_id for clip in list_clips(cache)[0]}


@pytest.fixture
def release(tmp_path: Path) -> Path:
    return write_release(tmp_path / "annotations")


def test_clip_is_not_used_while_the_annotation_of_its_video_is_faulty(
    release: Path, tmp_path: Path
) -> None:
    cache, path = tmp_path / "cache", video_path(release, "0001")
    assert extract_release(release, cache) == 0
    assert ids(cache) == {*VIDEOS}
    good, before = path.read_bytes(), clip_path(cache, "0001").read_bytes()
    listed = read_cache_info(cache).test_videos
    path.write_text("{")
    for _ in range(2):  # the second run does not try the video again
        assert extract_release(release, cache) == 1
        assert Failures(cache).rows().keys() == {"0001"}
        assert ids(cache) == {"0002", "0003"}
    info = read_cache_info(cache)
    assert info.test_videos == listed  # its clips in the test split are misses
    for split, failed in (("test", {"0001"}), ("train", set())):
        samples, bad = list_samples(
            cache, split=split, fold=Fold(subjects=("Subject1",)), info=info
        )
        assert bad.keys() == failed
        assert samples
        assert "0001" not in {sample.source_id for sample in samples}
    error = list_clips(cache)[1]["0001"]
    assert "the last extraction of this video failed (bad-annotation: " in str(error)
    assert "JSON expected" in str(error)
    path.write_bytes(good)
    assert extract_release(release, cache) == 0
    assert json.loads((cache / "run.json").read_text())["counts"]["skipped"] == 3
    assert ids(cache) == {*VIDEOS}
    assert clip_path(cache, "0001").read_bytes() == before


def test_clip_is_not_used_after_its_line_of_video_clips_becomes_faulty(
    release: Path, tmp_path: Path
) -> None:
    cache, clips = tmp_path / "cache", release / "video_clips.txt"
    assert extract_release(release, cache) == 0
    clips.write_text(clips.read_text().replace("0002, 1, 12, open", "0002, 1, 99, open"))
    assert extract_release(release, cache) == 1
    assert ids(cache) == {"0001", "0003"}
    assert tools_cache(["verify", str(cache)]) == 1
    assert tools_cache(["prune", str(cache)]) == 0
    assert not clip_path(cache, "0002").is_file()
    assert tools_cache(["verify", str(cache)]) == 0


def test_clip_is_not_used_after_its_video_file_is_damaged(tmp_path: Path) -> None:
    videos, _ = write_dataset(tmp_path)
    cache = tmp_path / "cache"
    words = ["--videos", str(videos), "--cache", str(cache), "decode.workers=0", *SMALL]
    assert extract(words) == 0
    path = videos / "A0001.mp4"
    path.write_bytes(path.read_bytes()[:200])
    assert extract(words) == 1
    clips, bad = list_clips(cache)
    assert "A0001" not in {clip.video_id for clip in clips}
    assert clips
    assert bad.keys() == {"A0001"}
