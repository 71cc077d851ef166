"""Labels of the test videos of Charades, and scores in the order of these videos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.datasets.charades.locate import CLASSES, TEST, locate
from pipeline.datasets.charades.table import read_charades
from pipeline.errors import UsageError


@dataclass(frozen=True)
class OfficialLabels:
    """Labels of the V test videos, in the order of the CSV file.

    Attributes:
        ids: ids of the V videos.
        labels: (V, C) bool, True where a video has the action.
    """

    ids: tuple[str, ...]
    labels: np.ndarray

    @classmethod
    def read(cls, folder: Path) -> "OfficialLabels":
        """Read the labels from `Charades_v1_test.csv` and `Charades_v1_classes.txt`.

        Args:
            folder: folder that contains the files, possibly in subfolders.

        Raises:
            UsageError: if a file is missing or malformed, or a row cannot be used.
        """
        files = {name: path for name, path in locate([folder]).items() if name in (TEST, CLASSES)}
        if TEST not in files:
            raise UsageError(f"--annotations: {TEST} expected below {folder}, found none")
        found = read_charades(files)
        if found.errors:
            name, why = next(iter(found.errors.items()))
            raise UsageError(f"--annotations: {name}: {why} ({len(found.errors)} such rows)")
        labels = np.zeros((len(found.videos), len(found.classes)), dtype=bool)
        for row, video in zip(labels, found.videos.values(), strict=True):
            row[[index for index, _, _ in video.actions]] = True
        return cls(tuple(found.videos), labels)

    def arrange(self, ids: Sequence[str], scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return scores in the order of the test videos.

        Args:
            ids: ids of W videos. Videos that are not test videos are left out.
            scores: (W, C) float64 scores.

        Returns:
            (V, C) float64 scores, and (V,) bool, whether a video has scores. The scores of the
            other videos are below all scores.

        Raises:
            UsageError: if the number of classes differs, or none of the ids is a test video.
        """
        if scores.shape[1] != self.labels.shape[1]:
            raise UsageError(
                f"scores of the {self.labels.shape[1]} classes of {CLASSES} expected, got "
                f"{scores.shape[1]} per video"
            )
        rows = {name: row for row, name in enumerate(ids)}
        present = np.array([name in rows for name in self.ids])
        if not present.any():
            raise UsageError(f"ids of {TEST} such as {self.ids[0]} expected, got {ids[0]}")
        arranged = np.full(self.labels.shape, scores.min() - 1)
        arranged[present] = scores[[rows[name] for name in self.ids if name in rows]]
        return arranged, present
