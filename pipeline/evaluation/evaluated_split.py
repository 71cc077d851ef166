"""Test videos of a dataset with and without scores."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.cache.folder import LabelledVideo
from pipeline.evaluation.scoring import Scores
from pipeline.weights.model_card import ModelCard

LOGGER = logging.getLogger("evaluate")


@dataclass(frozen=True)
class EvaluatedSplit:
    """Test videos of a dataset, by whether they have scores.

    Attributes:
        expected: number of labelled test videos of the dataset.
        present: number of videos with scores.
        without_frames: ids of the videos that have no annotated frame, which annotated boxes
            require. They are left out, as in the oracle protocol.
        missing: other videos without scores.
    """

    expected: int
    present: int
    without_frames: tuple[str, ...] = ()
    missing: tuple[LabelledVideo, ...] = ()

    @classmethod
    def of(
        cls, videos: Sequence[LabelledVideo], scored: Collection[str], *, has_given_boxes: bool
    ) -> "EvaluatedSplit":
        """Divide the test videos of a dataset.

        Args:
            videos: labelled test videos of the dataset.
            scored: ids of the videos with scores.
            has_given_boxes: whether annotated boxes are used.
        """
        absent = [row for row in videos if row.id not in scored]
        left_out = [row for row in absent if has_given_boxes and not row.has_frames]
        return cls(
            len(videos),
            len(scored),
            tuple(row.id for row in left_out),
            tuple(row for row in absent if row not in left_out),
        )

    def to_dict(self) -> dict[str, int]:
        """Return the number of videos of each group."""
        return {
            "expected": self.expected,
            "present": self.present,
            "without_annotated_frames": len(self.without_frames),
            "missing": len(self.missing),
        }

    def add_missing(
        self, found: Scores, columns: Sequence[int] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return scores and labels with a row for each missing video, which ranks last.

        As in the official evaluation of Charades, the positives of a video without a prediction
        count. In the mean average recall, such a video is a miss.

        Args:
            found: scores of V videos.
            columns: indices of the C classes among those of the dataset, or None for all.

        Returns:
            (V + M, C) float64 scores and (V + M, C) bool labels. The scores of the M missing
            videos are -1, below all probabilities.
        """
        labels = np.zeros((len(self.missing), found.labels.shape[1]), dtype=bool)
        place = {c: i for i, c in enumerate(range(labels.shape[1]) if columns is None else columns)}
        for row, video in zip(labels, self.missing, strict=True):
            row[[place[action] for action in video.actions if action in place]] = True
        scores = np.full(labels.shape, -1.0)
        return np.concatenate([found.scores, scores]), np.concatenate([found.labels, labels])


def rank_scores(
    found: Scores, videos: Sequence[LabelledVideo], card: ModelCard, *, only_present: bool
) -> tuple[tuple[np.ndarray, np.ndarray], dict[str, int] | None]:
    """Return the scores and labels that are ranked.

    Args:
        found: scores of the evaluated clips.
        videos: labelled test videos of the dataset; empty for another split or if they are unknown.
        card: card of the network.
        only_present: whether missing videos are left out.

    Returns:
        Scores and labels, and the number of test videos of each group, or None without `videos`.
    """
    if not videos:
        return (found.scores, found.labels), None
    has_given_boxes = card.cache.settings.boxes == "ground-truth"
    every = [video for video in videos if is_evaluated(video, card)]
    tested = EvaluatedSplit.of(every, found.video_ids, has_given_boxes=has_given_boxes)
    if tested.missing:
        ids = ", ".join(video.id for video in tested.missing[:5])
        counted = "rank last" if card.multi_label else "are misses"
        treated = "are left out" if only_present else counted
        LOGGER.warning(
            "%d of %d test videos have no prediction and %s: %s%s",
            len(tested.missing),
            tested.expected,
            treated,
            ids,
            ", …" if len(tested.missing) > 5 else "",
        )
    if only_present:
        return (found.scores, found.labels), tested.to_dict()
    return tested.add_missing(found, card.columns), tested.to_dict()


def is_evaluated(video: LabelledVideo, card: ModelCard) -> bool:
    """Return whether the scores of a test video would count (`with_known_labels`)."""
    if card.columns is None:
        return True
    return bool(video.actions) and (
        card.multi_label or not {*video.actions}.isdisjoint(card.columns)
    )
