import pytest
import torch

from pipeline.errors import UsageError
from tools import study_selection
from tools.study_selection import learn, measure, plant


@pytest.mark.parametrize("seed", range(5))
def test_exactly_the_planted_tokens_are_kept(seed: int) -> None:
    found = measure(learn(seed, "subset", price=0.3, weight=0.0, steps=200), seed)
    assert found.accuracy >= 0.95
    assert found.precision >= 0.95
    assert found.recall >= 0.95


def test_the_order_of_the_planted_tokens_is_the_class() -> None:
    videos = plant(0, 30)
    assert videos.right.sum((1, 2)).tolist() == [2] * 30
    assert int((videos.batch.mask & ~videos.right).sum()) > 60
    assert videos.batch.predicates is not None
    planted = videos.batch.predicates[videos.right[videos.batch.mask]].argmax(1).view(30, 2)
    assert torch.equal(planted[:, 0], videos.labels.argmax(1))
    assert torch.equal(planted[:, 1], 1 - planted[:, 0])
    assert 5 < int(videos.labels[:, 0].sum()) < 25


def test_command_prints_one_row_per_seed(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--selector", "gumbel", "--weight", "0.1", "--steps", "2", "--seeds", "2"]
    assert study_selection.main(words) == 0
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 3
    assert rows[1].split()[0] == "0"
    with pytest.raises(UsageError, match="--price and --weight"):
        study_selection.main(["--steps", "0"])
