"""Temperature of action scores, which makes them calibrated probabilities (Guo et al., 2017)."""

from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from pipeline.evaluation.metrics import none_if_nan

#: The temperature is searched between 1 / LIMIT and LIMIT.
LIMIT = 20.0


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, *, multi_label: bool = True
) -> np.ndarray:
    """Return the probabilities of the actions at a temperature.

    Args:
        logits: (V, C) logits.
        temperature: positive number by which the logits are divided.
        multi_label: True for the sigmoid, False for the softmax over the C classes.

    Returns:
        (V, C) float64 probabilities.
    """
    scaled = np.asarray(logits, np.float64) / temperature
    return np.asarray(expit(scaled) if multi_label else softmax(scaled, axis=1))


def fit_temperature(logits: np.ndarray, labels: np.ndarray, *, multi_label: bool = True) -> float:
    """Find the temperature with the lowest cross-entropy.

    A standard normal prior on the logarithm of the temperature keeps it near 1 if there are few
    videos: log(temperature)^2 / 2 is added to the cross-entropy of all values.

    Args:
        logits: (V, C) logits.
        labels: (V, C) bool, True where a video has the action.
        multi_label: True for the binary cross-entropy of the sigmoid, False for the cross-entropy
            of the softmax, if each video has exactly one action.

    Returns:
        Temperature between 1 / `LIMIT` and `LIMIT`, or 1 if there are no videos.
    """
    if not labels.size:
        return 1.0
    logits = np.asarray(logits, np.float64)
    signed = np.where(labels, logits, -logits)

    def cross_entropy(log_temperature: float) -> float:
        scale = np.exp(-log_temperature)
        if multi_label:
            return log_temperature**2 / 2 - float(log_expit(signed * scale).sum())
        return log_temperature**2 / 2 - float(log_softmax(logits * scale, axis=1)[labels].sum())

    bound = float(np.log(LIMIT))
    return float(np.exp(minimize_scalar(cross_entropy, bounds=(-bound, bound)).x))


def expected_calibration_error(
    probabilities: np.ndarray, labels: np.ndarray, *, bins: int = 15
) -> float:
    r"""Return the expected calibration error over all pairs of a video and a class.

    The N = V C pairs are divided into bins of equal width by their probability.

    .. math::
        \mathrm{ECE} = \sum_b \frac{n_b}{N} \left| \mathrm{acc}_b - \mathrm{conf}_b \right|

    In bin b, :math:`n_b` is the number of pairs, :math:`\mathrm{acc}_b` the fraction of pairs whose
    video has the action, and :math:`\mathrm{conf}_b` the mean probability.

    Args:
        probabilities: (V, C) probabilities.
        labels: (V, C) bool, True where a video has the action.
        bins: number of bins. A probability on the border of two bins belongs to the upper bin.

    Returns:
        The error, or NaN if there are no videos.
    """
    if not labels.size:
        return float("nan")
    place = np.minimum((probabilities * bins).astype(int), bins - 1).ravel()
    gap = np.bincount(place, (labels - probabilities).ravel(), minlength=bins)
    return float(np.abs(gap).sum() / labels.size)


def calibrate_scores(
    logits: np.ndarray, labels: np.ndarray, *, multi_label: bool = True
) -> dict[str, Any]:
    """Fit the temperature of a network.

    Args:
        logits: (V, C) logits of the validation videos.
        labels: (V, C) bool, True where a video has the action.
        multi_label: whether a video can have several actions.

    Returns:
        `scores` of `calibration.json`: the fields of `calibration_errors`, and `videos`.
    """
    temperature = fit_temperature(logits, labels, multi_label=multi_label)
    errors = calibration_errors(logits, labels, temperature, multi_label=multi_label)
    return errors | {"videos": len(labels)}


def calibration_errors(
    logits: np.ndarray, labels: np.ndarray, temperature: float, *, multi_label: bool = True
) -> dict[str, Any]:
    """Return `temperature`, and the calibration error without it and with it for JSON.

    Args:
        logits: (V, C) logits.
        labels: (V, C) bool, True where a video has the action.
        temperature: positive number by which the logits are divided.
        multi_label: whether a video can have several actions.

    Returns:
        `temperature`, `error_before` and `error_after`. The errors of no videos are None.
    """

    def error(temperature: float) -> float | None:
        found = probabilities(logits, temperature, multi_label=multi_label)
        return none_if_nan(expected_calibration_error(found, labels))

    errors = {"error_before": error(1.0), "error_after": error(temperature)}
    return {"temperature": temperature} | errors
