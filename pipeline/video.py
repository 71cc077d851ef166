"""Decoded frames and where they come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor


@dataclass(frozen=True)
class VideoSource:
    """A video file as it was found.

    Attributes:
        path: where it lies.
        sha256: of its bytes, hex.
        fps: nominal frames per second.
        num_frames: frames that can be asked for.
        width: pixels of an upright frame.
        height: pixels of an upright frame.
        duration_s: from the player's zero to the last frame, seconds.
        rotation: degrees, counter-clockwise, that made the frames upright.
        edit_lists: whether the container's edit lists were followed; `dumped` where the frames
            came as images.
        is_degraded: damage was tolerated.
    """

    path: Path
    sha256: str
    fps: float
    num_frames: int
    width: int
    height: int
    duration_s: float
    rotation: int
    edit_lists: Literal["applied", "ignored", "dumped"]
    is_degraded: bool = False


@dataclass(frozen=True)
class VideoFrames:
    """Some frames of one video.

    Attributes:
        frames: (T, 3, H, W) uint8 RGB, upright.
        frame_index: (T,) int64, 0-based, rising.
        timestamps_s: (T,) float64 seconds.
        source: of the video.

    Raises:
        ValueError: if shapes or dtypes do not agree, or the indices do not rise.
    """

    frames: Tensor
    frame_index: Tensor
    timestamps_s: Tensor
    source: VideoSource

    def __post_init__(self) -> None:
        T = len(self.frames)
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or self.frames.dtype != torch.uint8:
            raise ValueError(
                f"frames: (T, 3, H, W) uint8 expected, got {tuple(self.frames.shape)} "
                f"{self.frames.dtype}"
            )
        if self.frame_index.shape != (T,) or self.timestamps_s.shape != (T,):
            raise ValueError(
                f"frame_index, timestamps_s: ({T},) expected, got {tuple(self.frame_index.shape)} "
                f"and {tuple(self.timestamps_s.shape)}"
            )
        if bool((self.frame_index.diff() <= 0).any()):
            raise ValueError(f"frame_index: rising expected, got {self.frame_index.tolist()}")

    def __len__(self) -> int:
        return len(self.frames)

    @classmethod
    def empty(cls, source: VideoSource) -> "VideoFrames":
        """No frame of a video."""
        return cls(
            torch.zeros(0, 3, source.height, source.width, dtype=torch.uint8),
            torch.zeros(0, dtype=torch.int64),
            torch.zeros(0, dtype=torch.float64),
            source,
        )
