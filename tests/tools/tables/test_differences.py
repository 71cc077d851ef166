from collections.abc import Sequence

import numpy as np
import pytest

from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.recall import recall_of_scores
from tools.tables.cells import Cell, CellResult
from tools.tables.differences import compare
from tools.tables.rows import Comparison
from tools.tables.scores import VideoScores


def cells(network: str, folds: Sequence[str], seeds: int = 2) -> list[Cell]:
    return [Cell(network, f, s, (), None, "") for s in range(seeds) for f in folds]


def finished(rows: dict[str, list[Cell]]) -> dict[str, CellResult]:
    return {c.name: CellResult(c, {}, 1.0) for row in rows.values() for c in row}


def random_scores(seed: int, videos: int, labels: np.ndarray, noise: float) -> VideoScores:
    rng = np.random.default_rng(seed)
    ids = np.array([f"V{i:03d}" for i in range(videos)])
    return VideoScores(ids, labels + noise * rng.normal(size=labels.shape), labels)


def test_difference_is_the_mean_over_folds_and_seeds() -> None:
    rows = {"a": cells("a", ["x", "y"]), "b": cells("b", ["x-iid", "y-iid"])}
    sizes = {"x": 30, "y": 50}
    labels = {f: np.random.default_rng(n).random((n, 4)) < 0.4 for f, n in sizes.items()}
    found = {
        cell.name: random_scores(
            hash_of(cell.name), sizes[fold], labels[fold], 0.4 if cell.network == "a" else 1.5
        )
        for row in rows.values()
        for cell in row
        for fold in [str(cell.fold).removesuffix("-iid")]
    }
    result = compare(
        Comparison("a less b", ["a"], ["b"]),
        rows,
        finished(rows),
        lambda cell: found[cell.name],
        metric="map_official",
        resamples=50,
    )
    assert result is not None
    expected = []
    for one, two in zip(rows["a"], rows["b"], strict=True):
        pair = [charades_map(found[c.name].scores, found[c.name].labels).map for c in (one, two)]
        expected.append(pair[0] - pair[1])
    assert result.value == pytest.approx(np.mean(expected))
    assert 0 < result.low < result.value < result.high
    assert result.seeds == 2


def hash_of(name: str) -> int:
    return sum(ord(letter) * 31**i for i, letter in enumerate(name)) % 2**32


def test_equal_networks_have_no_difference_and_a_constant_gap_no_width() -> None:
    labels = np.eye(4, dtype=bool)[np.arange(40) % 4]
    right = VideoScores(np.array([f"V{i}" for i in range(40)]), labels.astype(float), labels)
    wrong = VideoScores(right.ids, 1.0 - labels, labels)
    rows = {name: cells(name, ["x"], 1) for name in "abc"}
    found = {"a_x_seed0": right, "b_x_seed0": right, "c_x_seed0": wrong}

    def difference(plus: list[str], minus: list[str]) -> tuple[float, float, float]:
        result = compare(
            Comparison("", plus, minus),
            rows,
            finished(rows),
            lambda cell: found[cell.name],
            metric="mar",
            resamples=20,
        )
        assert result is not None
        return result.value, result.low, result.high

    assert difference(["a"], ["b"]) == (0.0, 0.0, 0.0)
    assert difference(["a"], ["c"]) == (1.0, 1.0, 1.0)
    # A difference of differences: (a - c) - (b - c).
    assert difference(["a", "c"], ["c", "b"]) == (0.0, 0.0, 0.0)


def test_clips_of_a_video_are_drawn_together() -> None:
    """With two videos, a resample contains each of them 0, 1 or 2 times."""
    labels = np.eye(2, dtype=bool)[[0, 1] * 4]
    ids = np.array([f"V{video}_{first}_9" for video in (1, 2) for first in range(1, 5)])
    good = labels.astype(float)
    half = np.where((np.arange(8) < 4)[:, None], good, 1 - good)  # right for the first video only
    rows = {name: cells(name, ["x"], 1) for name in "ab"}
    found = {
        "a_x_seed0": VideoScores(ids, good, labels),
        "b_x_seed0": VideoScores(ids, half, labels),
    }
    result = compare(
        Comparison("", ["a"], ["b"]),
        rows,
        finished(rows),
        lambda cell: found[cell.name],
        metric="mar",
        resamples=200,
    )
    assert result is not None
    assert (result.value, result.low, result.high) == (0.5, 0.0, 1.0)
    assert recall_of_scores(half, labels).mar == 0.5


def test_unfinished_cells_and_other_videos_are_left_out() -> None:
    rows = {"a": cells("a", ["x"]), "b": cells("b", ["x"])}
    labels = np.eye(3, dtype=bool)[np.arange(30) % 3]
    scores = {name: random_scores(i, 30, labels, 0.1) for i, name in enumerate(finished(rows))}
    results = finished(rows)

    def seeds() -> int | None:
        result = compare(
            Comparison("", ["a"], ["b"]),
            rows,
            results,
            lambda cell: scores.get(cell.name),
            metric="mar",
            resamples=2,
        )
        return None if result is None else result.seeds

    assert seeds() == 2
    del results["b_x_seed1"]
    assert seeds() == 1
    other = scores["b_x_seed0"]
    scores["b_x_seed0"] = VideoScores(other.ids[::-1], other.scores, other.labels)
    assert seeds() is None
    del scores["b_x_seed0"]
    assert seeds() is None
