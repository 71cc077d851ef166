"""Scores of the test videos of a cell."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float

from pipeline.datasets import Span
from tools.evaluate_scores import read_arrays, read_scores


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

    def rows_of_videos(self, metric: str) -> list[np.ndarray]:
        """Return the rows of each video: one, or for mAR those of all of its clips."""
        if metric != "mar":
            return [np.array([row]) for row in range(len(self.ids))]
        videos = [Span.video_of(name) for name in self.ids.tolist()]
        return [np.flatnonzero(np.array(videos) == name) for name in dict.fromkeys(videos)]
