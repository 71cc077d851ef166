"""Scores of the test videos of a cell, and its metric on resamples of these videos."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from pipeline.datasets import Span
from pipeline.evaluation.metrics import charades_map, none_if_nan
from pipeline.evaluation.recall import recall_of_scores
from pipeline.runtime.files import json_sha256
from tools.evaluate_scores import read_arrays, read_scores

RESAMPLES = 500
#: Decimals of the metric on a resample, which keep the files of cells small.
DECIMALS = 6


@dataclass(frozen=True)
class Resamples:
    """Metric of a cell on its test videos with a clip, and on resamples of them.

    Cells with the same `videos` have the same resamples in the same order.

    Attributes:
        videos: SHA-256 of the metric, and of the ids and the labels of the videos.
        whole: metric on the videos. It differs from that of `metrics.json` if test videos have no
            clip, which count as misses there.
        values: (R,) metric of each resample. NaN if no video of a resample has an action.
    """

    videos: str
    whole: float
    values: Float[np.ndarray, "R"]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON, with None for NaN."""
        values = [none_if_nan(float(value)) for value in self.values]
        return {"videos": self.videos, "whole": self.whole, "values": values}

    @classmethod
    def from_dict(cls, tree: Any) -> "Resamples":
        """Parse the output of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: if the JSON is different.
        """
        values = [math.nan if value is None else _share(value) for value in tree["values"]]
        if not values or np.isnan(values).all() or not isinstance(tree["videos"], str):
            raise ValueError("resamples: a text `videos` and some numbers `values` expected")
        return cls(tree["videos"], _share(tree["whole"]), np.array(values))


def _share(value: Any) -> float:
    """Return a metric, which is a number from 0 to 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"resamples: numbers from 0 to 1 expected, got {value!r}")
    return float(value)


@dataclass(frozen=True)
class VideoScores:
    """Scores of a network on its test videos, sorted by id.

    Attributes:
        ids: (V,) ids of the videos, or of clips of videos.
        scores: (V, C) scores.
        labels: (V, C) bool, True where a video has the action.
    """

    ids: np.ndarray
    scores: Float[np.ndarray, "V C"]
    labels: Bool[np.ndarray, "V C"]

    @classmethod
    def read(cls, path: Path) -> "VideoScores":
        """Read `scores.npz` of pipeline.evaluate.

        Raises:
            UsageError: if the file is invalid.
        """
        scores, labels = read_scores(path)
        ids = read_arrays(path)["ids"]
        order = np.argsort(ids)
        return cls(ids[order], scores[order], labels[order].astype(bool))

    def resample(self, metric: str, resamples: int = RESAMPLES) -> Resamples:
        """Compute the metric on resamples of the videos, drawn with replacement.

        The videos determine the random numbers, so that cells with the same videos have the same
        resamples, and cells with other videos independent ones.

        Args:
            metric: `map_official`, or `mar`, for which the clips of a video are drawn together.
            resamples: number of resamples.
        """
        labels = np.packbits(self.labels, axis=1).tolist()
        videos = json_sha256([metric, self.ids.tolist(), self.labels.shape, labels])
        rng, rows = np.random.default_rng(int(videos, 16)), self._rows_of_videos(metric)
        values = []
        for _ in range(resamples):
            drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
            values.append(_metric(self.scores[drawn], self.labels[drawn], metric))
        whole = _metric(self.scores, self.labels, metric)
        return Resamples(videos, whole, np.round(values, DECIMALS))

    def _rows_of_videos(self, metric: str) -> list[np.ndarray]:
        """Return the rows of each video: one, or for mAR those of all of its clips."""
        if metric != "mar":
            return [np.array([row]) for row in range(len(self.ids))]
        videos = np.array([Span.video_of(name) for name in self.ids.tolist()])
        return [np.flatnonzero(videos == name) for name in dict.fromkeys(videos.tolist())]


def _metric(scores: np.ndarray, labels: np.ndarray, metric: str) -> float:
    if metric != "mar":
        return charades_map(scores, labels).map
    found = recall_of_scores(scores, labels)
    has_clips = found.support > 0
    return float(found.recall[has_clips].mean()) if has_clips.any() else float("nan")
