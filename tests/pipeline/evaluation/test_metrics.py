import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.metrics import charades_map, tie_grouped_map

SCORES = np.array(
    [[0.9, 0.1, 0.5], [0.8, 0.5, 0.4], [0.7, 0.5, 0.3], [0.95, 0.9, 0.9], [0.2, 0.5, 0.1]]
)
LABELS = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0], [0, 1, 0]], dtype=bool)


def ap_by_loops(scores: list[float], labels: list[bool], counts: list[bool]) -> float:
    rows = list(range(len(scores)))
    rows.sort(key=lambda i: -scores[i] if counts[i] else math.inf)  # Python's sort is stable
    hits, total = 0, 0.0
    for rank, i in enumerate(rows, 1):
        if labels[i]:
            hits += 1
            total += hits / rank
    return total / hits if hits else math.nan


@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_charades_ap_equals_reference_loops(seed: int, videos: int, classes: int) -> None:
    r = np.random.default_rng(seed)
    scores = r.integers(0, 4, (videos, classes)) / 3  # many ties
    labels = r.random((videos, classes)) < 0.3
    present = r.random(videos) < 0.8
    counts = (labels.any(1) & present).tolist()
    result = charades_map(scores, labels, present=present)
    expected = [
        ap_by_loops(scores[:, c].tolist(), labels[:, c].tolist(), counts) for c in range(classes)
    ]
    np.testing.assert_allclose(result.ap, expected, atol=1e-12)
    assert result.num_skipped == sum(map(math.isnan, expected))


def test_metrics_equal_hand_computed_values() -> None:
    result = charades_map(SCORES, LABELS)
    np.testing.assert_allclose(result.ap, [5 / 6, 5 / 6, np.nan], atol=1e-12)
    assert result.map == pytest.approx(5 / 6)
    assert result.weighted == pytest.approx(5 / 6)
    assert result.num_skipped == 1
    missing = charades_map(SCORES, LABELS, present=np.array([True, True, False, True, True]))
    np.testing.assert_allclose(missing.ap, [0.75, 1.0, np.nan], atol=1e-12)
    np.testing.assert_allclose(tie_grouped_map(SCORES, LABELS).ap, [5 / 6, 2 / 3, np.nan])
    assert tie_grouped_map(SCORES, LABELS, all_rows=True).map == pytest.approx(0.5)


def test_both_definitions_agree_without_ties() -> None:
    r = np.random.default_rng(0)
    scores, labels = r.random((50, 6)), r.random((50, 6)) < 0.2
    np.testing.assert_allclose(
        charades_map(scores, labels).ap, tie_grouped_map(scores, labels).ap, atol=1e-12
    )


def test_map_without_positives_is_nan_and_nan_scores_raise() -> None:
    none = np.zeros((3, 2), dtype=bool)
    assert math.isnan(charades_map(np.zeros((3, 2)), none).map)
    assert math.isnan(charades_map(np.zeros((3, 2)), none).weighted)
    bad = SCORES.copy()
    bad[1, 2] = np.nan
    with pytest.raises(ValueError, match="row 1, column 2"):
        charades_map(bad, LABELS)
    bad = SCORES.copy()
    bad[3, 0] = np.nan  # unlabelled rows are not ranked by their scores
    assert charades_map(bad, LABELS).map == pytest.approx(5 / 6)
