import math

import numpy as np
import pytest

from pipeline.evaluation.temperature import (
    LIMIT,
    calibrate_scores,
    expected_calibration_error,
    fit_temperature,
    probabilities,
)


def drawn(multi_label: bool, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and labels that are drawn from the probabilities of these logits."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, 2, (2000, 8))
    p = probabilities(logits, multi_label=multi_label)
    if multi_label:
        return logits, rng.random(p.shape) < p
    chosen = (rng.random((len(p), 1)) > p.cumsum(1)).sum(1).clip(max=7)
    return logits, np.eye(8, dtype=bool)[chosen]


@pytest.mark.parametrize("multi_label", [True, False])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_temperature_of_overconfident_and_underconfident_logits_is_recovered(
    multi_label: bool, temperature: float
) -> None:
    logits, labels = drawn(multi_label)
    found = calibrate_scores(logits * temperature, labels, multi_label=multi_label)
    assert found["temperature"] == pytest.approx(temperature, rel=0.05)
    assert found["videos"] == 2000
    assert found["error_after"] < 0.02
    assert found["error_after"] <= found["error_before"] + 1e-3
    if temperature != 1.0:
        assert found["error_before"] > 2 * found["error_after"]


@pytest.mark.parametrize("multi_label", [True, False])
def test_no_other_temperature_has_a_lower_cross_entropy(multi_label: bool) -> None:
    logits, labels = drawn(multi_label, seed=1)
    logits = logits * 2.5

    def cross_entropy(temperature: float) -> float:
        total = 0.0
        for row, positives in zip((logits / temperature).tolist(), labels.tolist(), strict=True):
            norm = sum(math.exp(z) for z in row)
            for z, is_positive in zip(row, positives, strict=True):
                if multi_label:
                    p = 1 / (1 + math.exp(-z))
                    total -= math.log(p if is_positive else 1 - p)
                elif is_positive:
                    total -= math.log(math.exp(z) / norm)
        return total + math.log(temperature) ** 2 / 2

    found = fit_temperature(logits, labels, multi_label=multi_label)
    best = cross_entropy(found)
    assert all(cross_entropy(found * factor) > best for factor in (0.98, 1.02))


def test_temperature_is_bounded_and_saturated_logits_are_finite() -> None:
    wrong = fit_temperature(np.array([[1e4, -1e4]]), np.array([[False, True]]))
    assert wrong == pytest.approx(LIMIT, rel=1e-3)
    many = np.tile([[1.0, -1.0]], (10_000, 1))
    assert fit_temperature(many, many > 0) < 0.2
    assert fit_temperature(many[:1], many[:1] > 0) > 0.5  # few videos: the prior keeps it near 1
    none = np.zeros((0, 2))
    assert calibrate_scores(none, none.astype(bool)) == {
        "temperature": 1.0,
        "error_before": None,
        "error_after": None,
        "videos": 0,
    }


def test_calibration_error_equals_a_loop_over_the_bins() -> None:
    rng = np.random.default_rng(0)
    p, labels = rng.random((40, 5)), rng.random((40, 5)) < 0.3
    p[0, :3] = 0.0, 1.0, 1 / 15
    pairs = [(float(a), bool(b)) for a, b in zip(p.ravel(), labels.ravel(), strict=True)]
    expected = 0.0
    for b in range(15):
        inside = [(a, y) for a, y in pairs if b == min(int(a * 15), 14)]
        if inside:
            accuracy = sum(y for _, y in inside) / len(inside)
            confidence = sum(a for a, _ in inside) / len(inside)
            expected += len(inside) / len(pairs) * abs(accuracy - confidence)
    assert expected_calibration_error(p, labels) == pytest.approx(expected, abs=1e-12)


def test_calibration_error_of_simple_cases() -> None:
    labels = np.array([[True, False], [True, False]])
    assert expected_calibration_error(labels.astype(float), labels) == 0
    assert expected_calibration_error(np.full((2, 2), 0.5), labels) == 0
    assert expected_calibration_error(np.full((2, 2), 0.9), labels) == pytest.approx(0.4)
    assert math.isnan(expected_calibration_error(np.zeros((0, 2)), np.zeros((0, 2), bool)))
