from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.criterion import LaIARCriterion
from pipeline.errors import UsageError
from pipeline.training.laiar import objective, task
from tests.pipeline.cache_maker import random_cache
from tests.pipeline.test_train import fit, log_rows


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_cache(tmp_path_factory.mktemp("learner") / "cache")


def test_training_uses_subsets_and_excerpts(cache: Path, tmp_path: Path) -> None:
    for least, weight in ((0.3, 0), (1.0, 2), (1.0, 0)):
        run = tmp_path / f"{least} {weight}"
        words = (f"train.least_share={least}", f"loss.excerpts={weight}", "train.epochs=4")
        assert fit(cache, run, *words) == 0
        steps = [row for row in log_rows(run) if row["kind"] == "step"]
        assert all(row["kept"] == row["tokens"] for row in steps) == (least == 1)
        assert all((row["terms"].get("excerpts", 0) > 0) == (weight > 0) for row in steps)


def test_label_of_an_excerpt_is_what_it_shows(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    class Recording(LaIARCriterion):
        def excerpt_loss(self, logits: list[Tensor], labels: list[Tensor]) -> Tensor:
            found.extend(labels)
            return super().excerpt_loss(logits, labels)

    monkeypatch.setattr(task, "LaIARCriterion", Recording)
    words = ("train.epochs=1", "train.num_excerpts=2")
    assert fit(cache, tmp_path / "whole", *words) == 0
    assert any(bool((row == 1).any()) for row in found)
    steps = [row for row in log_rows(tmp_path / "whole") if row["kind"] == "step"]
    assert len(found) == 2 * len(steps)
    found.clear()
    monkeypatch.setattr(objective, "random_excerpts", lambda mask, *_: torch.zeros_like(mask))
    assert fit(cache, tmp_path / "empty", *words) == 0
    assert not any(bool((row == 1).any()) for row in found)


def test_training_on_reversed_videos(cache: Path, tmp_path: Path) -> None:
    run, path = tmp_path / "run", tmp_path / "pairs.yaml"
    path.write_text("inverse_pairs: [[none, other]]")
    with pytest.raises(UsageError, match="inverse pairs among the trained classes expected"):
        fit(cache, run, "train.reversed_share=0.5", f"inverse_pairs={path}")
    losses = []
    for share in (0, 1):
        run = tmp_path / str(share)
        assert fit(cache, run, "train.epochs=1", f"train.reversed_share={share}") == 0
        losses.append(log_rows(run)[0]["terms"])
    # Of the 5 classes, 2 are a pair of inverses; the loss of a reversed video has only these terms.
    assert 0 < losses[1]["video"] < 0.5 * losses[0]["video"]
