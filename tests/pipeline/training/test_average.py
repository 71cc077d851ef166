from pathlib import Path

import pytest
import torch
from torch import nn

from pipeline.training.average import WeightAverage
from pipeline.weights.run_folder import read_weights
from tests.pipeline.cache_maker import random_cache
from tests.pipeline.test_train import fit, log_rows


def test_average_equals_plain_loops() -> None:
    torch.manual_seed(0)
    linear, norm = nn.Linear(2, 3), nn.BatchNorm1d(3)
    average = WeightAverage(nn.Sequential(linear, norm), 0.5)
    expected, tracked = linear.weight.detach().clone(), norm.num_batches_tracked
    assert tracked is not None
    for step in range(1, 6):
        with torch.no_grad():
            linear.weight.add_(torch.randn(3, 2))
        tracked.add_(1)
        average.update()
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * linear.weight.detach()
    before = linear.weight.detach().clone()
    with average.applied():
        torch.testing.assert_close(linear.weight.detach(), expected)
        assert int(tracked) == 5
    assert torch.equal(linear.weight, before)
    other = WeightAverage(nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3)), 0.5)
    other.restore(average.state())
    assert other.count == 5
    torch.testing.assert_close(other.values["0.weight"], expected)
    with pytest.raises(ValueError, match="tensors of the network expected"):
        WeightAverage(nn.Linear(2, 4), 0.5).restore(average.state())


def test_averaged_weights_are_stored_and_the_optimiser_keeps_its_own(tmp_path: Path) -> None:
    cache = random_cache(tmp_path / "cache")
    words = ("train.epochs=2", "train.validation_fraction=0")
    for name, ema in (("plain", 0), ("averaged", 0.9)):
        assert fit(cache, tmp_path / name, *words, f"train.ema={ema}") == 0
    plain, averaged = (
        [row for row in log_rows(tmp_path / name) if row["kind"] == "step"]
        for name in ("plain", "averaged")
    )
    assert [row["loss"] for row in plain] == [row["loss"] for row in averaged]
    weights = [read_weights(tmp_path / name) for name in ("plain", "averaged")]
    name = "language_head.weight"
    assert not torch.allclose(weights[0][name], weights[1][name])
