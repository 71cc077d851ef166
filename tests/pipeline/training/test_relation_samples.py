"""Tests of the training samples of a relation predictor."""

from pathlib import Path

from pipeline.cache.listing import list_clips
from pipeline.errors import ItemError
from pipeline.training.relations.samples import RelationClips, RelationSample, join_whole
from tests.pipeline.cache_maker import random_cache


def test_batch_with_an_unreadable_clip_is_its_error(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache", train=2, test=0)
    clips = RelationClips(list_clips(cache)[0])
    joined = join_whole([clips[0], clips[1]])
    assert isinstance(joined, RelationSample)
    assert joined.video_ids == ("TRAIN000", "TRAIN001")
    (cache / "TRAIN001.safetensors").write_bytes(b"damaged")
    error = join_whole([clips[0], clips[1]])
    assert isinstance(error, ItemError)
    assert "TRAIN001.safetensors" in str(error)
