"""Choice of the windows of a video that are explained."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from pipeline.cache.clip import CachedClip


@dataclass
class WindowChoice:
    """Chooses the windows in which the actions with the highest scores have their highest score.

    Windows are added in order of time. Only the chosen ones stay in memory.

    Attributes:
        top: number of actions.
        scores: (C,) float64 scores of each window.
        between_s: first and last time of each window.
        clips: the chosen windows by number.
    """

    top: int
    scores: list[Tensor] = field(default_factory=list)
    between_s: list[tuple[float, float]] = field(default_factory=list)
    clips: dict[int, CachedClip] = field(default_factory=dict)

    def add(self, clip: CachedClip, scores: Tensor) -> None:
        """Add the next window.

        Args:
            clip: its sampled frames.
            scores: (C,) float64 scores.
        """
        self.clips[len(self.scores)] = clip
        self.scores.append(scores)
        self.between_s.append((float(clip.timestamps_s[0]), float(clip.timestamps_s[-1])))
        chosen = {self.window_of(action) for action in self.actions()}
        self.clips = {number: kept for number, kept in self.clips.items() if number in chosen}

    def best(self) -> Tensor:
        """Return the (C,) highest score of each action."""
        return torch.stack(self.scores).amax(0)

    def actions(self) -> list[int]:
        """Return the columns of the actions with the highest scores, in descending order."""
        order: list[int] = self.best().argsort(descending=True, stable=True).tolist()
        return order[: self.top]

    def window_of(self, action: int) -> int:
        """Return the first window in which an action has its highest score."""
        return int(torch.stack(self.scores)[:, action].argmax())

    def frames(self) -> set[int]:
        """Return the indices of the frames of the chosen windows."""
        return {i for clip in self.clips.values() for i in clip.frame_index.tolist()}
