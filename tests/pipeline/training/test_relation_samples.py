"""Tests of the training samples of a relation predictor."""

from pathlib import Path

import pytest
import torch

from pipeline.cache.listing import list_clips
from pipeline.errors import StageError
from pipeline.training.relations.samples import RelationClips, epoch_batches
from tests.pipeline.cache_maker import forge, random_cache


@pytest.mark.parametrize("workers", [0, 1])
def test_unreadable_clip_stops_the_epoch(tmp_path: Path, workers: int) -> None:
    cache = random_cache(tmp_path / "cache", train=2, test=0)
    good = RelationClips(list_clips(cache)[0])
    asked = {"seed": 0, "epoch": 0, "workers": workers}
    assert len(list(epoch_batches(good, 2, **asked))) == 1
    forge(cache, "TRAIN001", scores=torch.zeros(0))
    with pytest.raises(StageError, match=r"TRAIN001\.safetensors: .* scores"):
        list(epoch_batches(RelationClips(list_clips(cache)[0]), 2, **asked))
