"""Tests of annotated relations on detected boxes, from extraction to samples.

The tests use `configs/world.yaml`.
"""

from pathlib import Path

import pytest

from pipeline import extract
from pipeline.cache.listing import ClipEntry
from pipeline.cache.reader import ClipReader, load_clip
from pipeline.decoding.sampling import choose_frames
from pipeline.samples.dataset import ClipDataset
from tests.conftest import CONFIG, World


@pytest.fixture(scope="module")
def cache(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("detected")
    videos = root / "videos"
    videos.mkdir()
    clip = world.test_clips[0]
    (videos / clip.name).symlink_to(clip)
    words = ["--videos", str(videos), "--annotations", str(world.annotations)]
    less = ["frames.num=4", "device=cpu"]
    assert extract.main(["--config", CONFIG, *words, "--cache", str(root / "c"), *less]) == 0
    assert extract.main(["--config", CONFIG, *words[:2], "--cache", str(root / "bare"), *less]) == 0
    return root


def test_included_detector_finds_people_and_objects(cache: Path) -> None:
    path = next((cache / "bare").glob("*.safetensors"))
    clip = load_clip(path)
    assert clip.header.feature_source == "proposal"
    assert ClipReader(path).relations == ("predicted",)  # from the included predictor
    assert clip.num_frames == 4
    people = clip.scores[clip.labels == 0]
    assert len(people) >= 4
    assert float(people.max()) > 0.8
    assert len(clip.pair_rows) > 4


def test_annotated_frames_have_relations_and_training_uses_only_these_frames(cache: Path) -> None:
    path = next((cache / "c").glob("*.safetensors"))
    reader, clip = ClipReader(path), load_clip(path)
    known = reader.has_relations("ground-truth")
    said = clip.predicates["ground-truth"].any(1)
    assert 0 < int(known.sum()) < clip.num_frames
    for t in range(clip.num_frames):
        assert bool(known[t]) == bool(said[clip.pair_frame == t].any())
    entry = ClipEntry(path, reader.header, reader.relations)
    taught = ClipDataset(
        [entry], 157, num_frames=3, max_pairs=8, relations="ground-truth", seed=0
    ).read(entry)
    rows = {int(i) for i in clip.frame_index[known]}
    assert {int(i) for i in taught.frame_index} <= rows
    shown = ClipDataset([entry], 157, num_frames=3, max_pairs=8).read(entry)
    uniform = choose_frames(reader.header.source.num_frames, 4)
    assert set(shown.frame_index.tolist()) <= set(uniform)
    assert shown.num_frames == 3
