from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import UsageError
from tools import compare_scores
from tools.compare_scores import interval, metrics_of, read_both

V, C = 120, 4


def written(path: Path, noise: float, **changes: np.ndarray) -> Path:
    """Write scores of videos with planted labels; more noise makes them worse."""
    rng = np.random.default_rng(0)
    labels = rng.random((V, C)) < 0.5
    scores, again = (labels + noise * rng.normal(size=(V, C)) for _ in range(2))
    arrays: dict[str, Any] = {
        "scores": scores,
        "labels": labels,
        "ids": np.array([f"V{row:03d}" for row in range(V)]),
        "reversed": -again,
        "pairs": np.array([[0, 1], [2, 3]]),
    }
    np.savez(path, **(arrays | changes))
    return path


def test_differences_of_equal_and_of_worse_networks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = written(tmp_path / "good.npz", 0.1), written(tmp_path / "bad.npz", 3.0)
    words = ["--resamples", "60"]
    assert compare_scores.main([str(good), str(good), *words]) == 0
    same = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in same] == ["mAP", "accuracy", "flips"]
    assert all("+0.0000   +0.0000 to +0.0000 undecided" in line for line in same)
    assert compare_scores.main([str(good), str(bad), *words]) == 0
    worse = capsys.readouterr().out.splitlines()[1:3]
    assert all(float(line.split()[3]) < 0 and "undecided" not in line for line in worse)


def test_videos_are_paired_by_their_ids_and_resampled_together(tmp_path: Path) -> None:
    first = written(tmp_path / "a.npz", 0.5)
    with np.load(first) as file:
        turned = {name: value[::-1] for name, value in file.items() if name != "pairs"}
    second = written(tmp_path / "b.npz", 0.5, **turned)
    one, two, labels, pairs = read_both(first, second)
    assert pairs == [(0, 1), (2, 3)]
    for metric in metrics_of(pairs).values():
        assert interval(one, two, labels, metric, resamples=20, seed=1) == (0.0, 0.0)


def test_interval_of_a_mean_agrees_with_its_standard_error() -> None:
    rng = np.random.default_rng(3)
    zero, values = np.zeros((400, 1)), rng.normal(0.3, 1.0, (400, 1))
    labels = np.ones((400, 1), bool)
    low, high = interval(
        (zero, zero),
        (values, zero),
        labels,
        lambda scores, _, __: float(scores.mean()),
        resamples=1000,
        seed=0,
    )
    half = 1.96 * values.std() / 20
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.02)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ids": np.array([f"W{row:03d}" for row in range(V)])}, "the same videos"),
        ({"labels": np.ones((V, C), bool)}, "the same labels"),
        ({"pairs": np.array([[0, 2]])}, "the same pairs"),
        ({"pairs": np.array([[0, 9]])}, "columns of the scores"),
        ({"reversed": np.zeros((V, 2))}, r"reversed \(V, C\)"),
        ({"reversed": np.full((V, C), np.nan)}, "finite real scores"),
        ({"reversed": np.full((V, C), "x")}, "finite real scores"),
        ({"scores": np.full((V, C), np.inf)}, "finite real scores"),
    ],
)
def test_files_of_other_videos_or_classes_are_rejected(
    tmp_path: Path, changes: dict, message: str
) -> None:
    good, bad = written(tmp_path / "a.npz", 0.1), written(tmp_path / "b.npz", 0.1, **changes)
    with pytest.raises(UsageError, match=message):
        read_both(good, bad)
    np.savez(tmp_path / "c.npz", scores=np.zeros((V, C)), labels=np.zeros((V, C)))
    with pytest.raises(UsageError, match="'ids' expected"):
        read_both(tmp_path / "c.npz", good)
