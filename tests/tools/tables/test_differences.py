import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.metrics import charades_map
from pipeline.evaluation.recall import recall_of_scores
from tools.tables.cells import Cell, CellResult
from tools.tables.differences import Difference, compare
from tools.tables.rows import Comparison
from tools.tables.scores import Resamples, VideoScores


def cells(network: str, folds: Sequence[str], seeds: int = 2) -> list[Cell]:
    return [Cell(network, f, s, (), None, "") for s in range(seeds) for f in folds]


def result_of(cell: Cell, scores: VideoScores, metric: str, resamples: int) -> CellResult:
    value = {
        "map_official": lambda: charades_map(scores.scores, scores.labels).map,
        "mar": lambda: recall_of_scores(scores.scores, scores.labels).mar,
    }[metric]()
    return CellResult(cell, {metric: value}, 1.0, (), scores.resample(metric, resamples))


def difference(
    comparison: Comparison,
    rows: dict[str, list[Cell]],
    scores: Mapping[str, VideoScores],
    metric: str,
    resamples: int,
) -> Difference | None:
    finished = {
        cell.name: result_of(cell, scores[cell.name], metric, resamples)
        for row in rows.values()
        for cell in row
        if cell.name in scores
    }
    return compare(comparison, rows, finished)


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
    result = difference(Comparison("a less b", ["a"], ["b"]), rows, found, "map_official", 50)
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

    def interval(plus: list[str], minus: list[str]) -> tuple[float, float, float]:
        result = difference(Comparison("", plus, minus), rows, found, "mar", 20)
        assert result is not None
        return result.value, result.low, result.high

    assert interval(["a"], ["b"]) == (0.0, 0.0, 0.0)
    assert interval(["a"], ["c"]) == (1.0, 1.0, 1.0)
    # A difference of differences: (a - c) - (b - c).
    assert interval(["a", "c"], ["c", "b"]) == (0.0, 0.0, 0.0)


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
    result = difference(Comparison("", ["a"], ["b"]), rows, found, "mar", 200)
    assert result is not None
    assert (result.value, result.low, result.high) == (0.5, 0.0, 1.0)
    assert recall_of_scores(half, labels).mar == 0.5


def test_unfinished_cells_and_other_videos_are_left_out() -> None:
    rows = {"a": cells("a", ["x"]), "b": cells("b", ["x"])}
    labels = np.eye(3, dtype=bool)[np.arange(30) % 3]
    names = [cell.name for row in rows.values() for cell in row]
    scores = {name: random_scores(i, 30, labels, 0.1) for i, name in enumerate(names)}

    def seeds() -> int | None:
        result = difference(Comparison("", ["a"], ["b"]), rows, scores, "mar", 2)
        return None if result is None else result.seeds

    assert seeds() == 2
    del scores["b_x_seed1"]
    assert seeds() == 1
    right = scores["b_x_seed0"]
    scores["b_x_seed0"] = VideoScores(right.ids[::-1], right.scores, right.labels)
    assert seeds() is None
    scores["b_x_seed0"] = VideoScores(right.ids, right.scores, right.labels[::-1])
    assert seeds() is None


def test_resamples_are_those_of_plain_loops_and_survive_json() -> None:
    labels = np.random.default_rng(1).random((12, 3)) < 0.3
    scores = random_scores(2, 12, labels, 1.0)
    found = scores.resample("map_official", 4)
    rng = np.random.default_rng(int(found.videos, 16))
    for value in found.values:
        rows = rng.integers(12, size=12).tolist()
        drawn_scores = np.array([scores.scores[i] for i in rows])
        drawn_labels = np.array([labels[i] for i in rows])
        assert value == pytest.approx(charades_map(drawn_scores, drawn_labels).map, abs=5e-7)
    same = Resamples.from_dict(json.loads(json.dumps(found.to_dict())))
    assert same.videos == found.videos
    np.testing.assert_array_equal(same.values, found.values)


def test_a_resample_without_actions_has_no_metric() -> None:
    labels = np.zeros((2, 2), dtype=bool)
    labels[0, 0] = True
    found = random_scores(0, 2, labels, 1.0).resample("mar", 40)
    assert np.isnan(found.values).any()
    assert not np.isnan(found.values).all()
    assert None in found.to_dict()["values"]
    np.testing.assert_array_equal(
        np.isnan(Resamples.from_dict(found.to_dict()).values), np.isnan(found.values)
    )


def test_value_and_interval_describe_the_same_videos() -> None:
    """Test videos without a clip lower the metric of a cell, but are in no resample."""
    labels = np.random.default_rng(3).random((60, 4)) < 0.4
    rows = {"a": cells("a", ["x"], 1), "b": cells("b", ["x"], 1)}
    found = {c.name: random_scores(i, 60, labels, 0.5 + i) for i, (c,) in enumerate(rows.values())}
    results = {
        cell.name: replace(
            result_of(cell, found[cell.name], "map_official", 50), metrics={"map_official": 0.1}
        )
        for row in rows.values()
        for cell in row
    }
    result = compare(Comparison("", ["a"], ["b"]), rows, results)
    assert result is not None
    maps = [charades_map(each.scores, each.labels).map for each in found.values()]
    assert result.value == pytest.approx(maps[0] - maps[1], abs=1e-6)
    assert result.low < result.value < result.high


def test_cells_of_other_metrics_numbers_of_classes_and_resamples_are_not_compared() -> None:
    labels = np.zeros((6, 3), dtype=bool)
    labels[:, 0] = True
    scores = random_scores(0, 6, labels, 1.0)
    wide = VideoScores(
        scores.ids, np.pad(scores.scores, ((0, 0), (0, 1))), np.pad(labels, 1)[1:-1, 1:]
    )
    names = {s.resample(m, 2).videos for s in (scores, wide) for m in ("mar", "map_official")}
    assert len(names) == 4
    rows = {"a": cells("a", ["x"], 1), "b": cells("b", ["x"], 1)}
    results = {
        row[0].name: result_of(row[0], scores, "mar", number)
        for row, number in zip(rows.values(), (2, 3), strict=True)
    }
    assert compare(Comparison("", ["a"], ["b"]), rows, results) is None


@pytest.mark.parametrize(
    "changed",
    [
        None,
        {},
        {"videos": 1},
        {"whole": None},
        {"values": []},
        {"values": [[1.0]]},
        {"values": [None, None]},
        {"values": [0.5, True]},
        {"values": ["0.5"]},
        {"values": [math.nan]},
        {"values": [7.0]},
    ],
)
def test_damaged_resamples_are_rejected(changed: dict[str, object] | None) -> None:
    tree = {"videos": "v", "whole": 0.5, "values": [0.5, None]}
    Resamples.from_dict(tree)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Resamples.from_dict(changed and tree | changed)
