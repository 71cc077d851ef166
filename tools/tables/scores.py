"""Scores of the test videos of a cell, and its metric on resamples of these videos."""

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
    """Metric of a cell on resamples of its test videos.

    Cells with the same `videos` have the same resamples in the same order.

    Attributes:
        videos: SHA-256 of the ids and the labels of the test videos.
        values: (R,) metric of each resample. NaN if no video of a resample has an action.
    """

    videos: str
    values: Float[np.ndarray, "R"]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON, with None for NaN."""
        values = [none_if_nan(float(value)) for value in self.values]
        return {"videos": self.videos, "values": values}

    @classmethod
    def from_dict(cls, tree: Any) -> "Resamples":
        """Parse the output of `to_dict`.

        Raises:
            KeyError, TypeError, ValueError: if the JSON is different.
        """
        values = np.array(tree["values"], dtype=np.float64)  # converts None to NaN
        if values.ndim != 1 or not isinstance(tree["videos"], str):
            raise ValueError("resamples: a text `videos` and a list `values` expected")
        return cls(tree["videos"], values)


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
        videos = json_sha256([self.ids.tolist(), labels])
        rng, rows = np.random.default_rng(int(videos, 16)), self._rows_of_videos(metric)
        values = []
        for _ in range(resamples):
            drawn = np.concatenate([rows[i] for i in rng.integers(len(rows), size=len(rows))])
            values.append(_metric(self.scores[drawn], self.labels[drawn], metric))
        return Resamples(videos, np.round(values, DECIMALS))

    def _rows_of_videos(self, metric: str) -> list[np.ndarray]:
        """Return the rows of each video: one, or for mAR those of all of its clips."""
        if metric != "mar":
            return [np.array([row]) for row in range(len(self.ids))]
        videos = [Span.video_of(name) for name in self.ids.tolist()]
        return [np.flatnonzero(np.array(videos) == name) for name in dict.fromkeys(videos)]


def _metric(scores: np.ndarray, labels: np.ndarray, metric: str) -> float:
    if metric != "mar":
        return charades_map(scores, labels).map
    found = recall_of_scores(scores, labels)
    has_clips = found.support > 0
    return float(found.recall[has_clips].mean()) if has_clips.any() else float("nan")
