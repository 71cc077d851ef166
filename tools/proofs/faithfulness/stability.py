"""Stability of reasons in a second cache of the same videos."""

from dataclasses import dataclass

import numpy as np

from pipeline.explanation.explained_clip import ExplainedClip
from pipeline.explanation.predictions import Reason, Statement

#: Fields of a reason that make its statement.
STATEMENT = ("kind", "object", "from_", "to")
#: Values of each video, by metric.
Values = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class _Pair:
    """Scores and reasons of one video in both caches."""

    scores: tuple[np.ndarray, np.ndarray]
    reasons: tuple[dict[int, Reason], dict[int, Reason]]


class Stability:
    """Collects the reasons of videos in two caches and compares them."""

    def __init__(self) -> None:
        self._pairs: dict[str, _Pair] = {}

    def add(self, video_id: str, first: ExplainedClip, second: ExplainedClip) -> None:
        """Add a video that both caches contain."""
        scores = np.array(first.scores), np.array(second.scores)
        self._pairs[video_id] = _Pair(scores, (first.reasons, second.reasons))

    def values(self, seed: int) -> Values:
        """Compare the reasons of all videos.

        - `stability, explained`: whether an action that is explained in a cache is explained in
          both.
        - `stability, statement`: whether the reasons of an action in both caches have the same
          kind, object, `from` and `to`.
        - `stability, time`: whether the times of reasons with the same statement overlap. Reasons
          of the kind `none` have no time and are left out.
        - `stability, mean change` and `stability, largest change`: mean and largest absolute
          difference of the scores of a video, over the actions that are explained in a cache.

        The values with `random` compare with the reason of the same action in another random video
        of the first cache, or else with the reason of a random other action of the video. For the
        changes of scores, they compare with the scores of another random video.

        Args:
            seed: seed of the random videos and actions.

        Returns:
            The values of each video by metric.
        """
        rng = np.random.default_rng(seed)
        found: Values = {}
        explained: dict[int, list[str]] = {}
        for video_id, pair in self._pairs.items():
            for action in pair.reasons[0]:
                explained.setdefault(action, []).append(video_id)

        def note(name: str, video_id: str, value: float) -> None:
            found.setdefault(name, {}).setdefault(video_id, []).append(float(value))

        for video_id, pair in self._pairs.items():
            first, second = pair.reasons
            either = sorted({*first} | {*second})
            for action in either:
                both = action in first and action in second
                note("stability, explained", video_id, both)
                if not both:
                    continue
                control = self._control(video_id, action, explained[action], rng)
                others = {"": second[action]} | ({", random": control} if control else {})
                for end, other in others.items():
                    same = has_same_statement(first[action], other)
                    note(f"stability, statement{end}", video_id, same)
                    if same and other.between_s is not None:
                        note(f"stability, time{end}", video_id, overlaps(first[action], other))
            for end, scores in self._scores(video_id, rng).items():
                change = np.abs(scores - pair.scores[0])[either]
                if len(change):
                    note(f"stability, mean change{end}", video_id, change.mean())
                    note(f"stability, largest change{end}", video_id, change.max())
        return found

    def _control(
        self, video_id: str, action: int, explained: list[str], rng: np.random.Generator
    ) -> Reason | None:
        """Return the reason with which the reason of an action is compared as a control."""
        videos = [other for other in explained if other != video_id]
        if videos:
            return self._pairs[videos[int(rng.integers(len(videos)))]].reasons[0][action]
        own = self._pairs[video_id].reasons[0]
        actions = [other for other in own if other != action]
        return own[actions[int(rng.integers(len(actions)))]] if actions else None

    def _scores(self, video_id: str, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return the scores in the second cache and, as a control, those of another video."""
        others = [other for other in self._pairs if other != video_id]
        found = {"": self._pairs[video_id].scores[1]}
        if others:
            found[", random"] = self._pairs[others[int(rng.integers(len(others)))]].scores[0]
        return found


def has_same_statement(first: Statement, second: Statement) -> bool:
    """Return whether two reasons have the same kind, object, `from` and `to`."""
    return all(getattr(first, field) == getattr(second, field) for field in STATEMENT)


def overlaps(first: Statement, second: Statement) -> bool:
    """Return whether the times of two reasons overlap, ends included."""
    assert first.between_s is not None
    assert second.between_s is not None
    (a, b), (c, d) = first.between_s, second.between_s
    return bool(a <= d and c <= b)
