"""Decoded frames."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.decoding.video_source import VideoSource


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
