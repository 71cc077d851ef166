"""Means with bootstrap intervals over videos."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def mean_with_interval(
    values: Mapping[str, Sequence[float]], *, resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """Return the mean of values with a 95 % percentile interval from a bootstrap over videos.

    Args:
        values: values of each video. Videos without values are left out.
        resamples: number of resamples of the videos with replacement.
        seed: seed of the resamples.

    Returns:
        A dict with `mean`, `low`, `high`, `count` (number of values) and `videos` (with at least
        one value). The first three are None if there is no value.
    """
    rows = [row for row in values.values() if len(row)]
    sums = np.array([np.sum(row) for row in rows])
    sizes = np.array([len(row) for row in rows])
    found: dict[str, Any] = {"mean": None, "low": None, "high": None}
    if len(rows):
        drawn = np.random.default_rng(seed).integers(len(rows), size=(resamples, len(rows)))
        means = sums[drawn].sum(1) / sizes[drawn].sum(1)
        low, high = np.quantile(means, [0.025, 0.975])
        found = {"mean": float(sums.sum() / sizes.sum()), "low": float(low), "high": float(high)}
    return found | {"count": int(sizes.sum()), "videos": len(rows)}
