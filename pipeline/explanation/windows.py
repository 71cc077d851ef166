"""Choice of the windows of a video that are explained."""

import torch
from torch import Tensor

from pipeline.cache.clip import CachedClip


class WindowChoice:
    """Chooses the windows in which the actions with the highest scores have their highest score.

    Windows are added in order of time. Only the chosen ones stay in memory.

    Args:
        top: number of actions.

    Attributes:
        scores: (C,) float64 scores of each window.
        between_s: first and last time of each window.
        best: (C,) float64 highest score of each action; empty before the first window.
        clips: the chosen windows by number.
    """

    def __init__(self, top: int) -> None:
        self.scores: list[Tensor] = []
        self.between_s: list[tuple[float, float]] = []
        self.best = torch.zeros(0, dtype=torch.float64)
        self.clips: dict[int, CachedClip] = {}
        self._top = top
        self._place = torch.zeros(0, dtype=torch.int64)

    def add(self, clip: CachedClip, scores: Tensor) -> None:
        """Add the next window.

        Args:
            clip: its sampled frames.
            scores: (C,) float64 scores.
        """
        if not self.scores:
            self.best = torch.full_like(scores, -torch.inf)
            self._place = torch.zeros(len(scores), dtype=torch.int64)
        better = scores > self.best
        self._place[better] = len(self.scores)
        self.best = torch.where(better, scores, self.best)
        self.clips[len(self.scores)] = clip
        self.scores.append(scores)
        self.between_s.append((float(clip.timestamps_s[0]), float(clip.timestamps_s[-1])))
        chosen = {self.window_of(action) for action in self.actions()}
        self.clips = {number: kept for number, kept in self.clips.items() if number in chosen}

    def actions(self) -> list[int]:
        """Return the columns of the actions with the highest scores, in descending order."""
        order: list[int] = self.best.argsort(descending=True, stable=True).tolist()
        return order[: self._top]

    def window_of(self, action: int) -> int:
        """Return the first window in which an action has its highest score."""
        return int(self._place[action])

    def frames(self) -> set[int]:
        """Return the indices of the frames of the chosen windows."""
        return {i for clip in self.clips.values() for i in clip.frame_index.tolist()}
