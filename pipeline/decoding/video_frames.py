"""Decoded frames as tensors."""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.decoding.video_source import VideoSource


@dataclass(frozen=True)
class VideoFrames:
    """Decoded frames of one video.

    Attributes:
        frames: (T, 3, H, W) uint8, upright RGB images.
        frame_index: (T,) int64, 0-based frame indices, strictly increasing.
        timestamps_s: (T,) float64, times of the frames in seconds.
        source: properties of the video.

    Raises:
        ValueError: if a shape or dtype is wrong, or the indices are not strictly increasing.
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
            raise ValueError(
                f"frame_index: strictly increasing indices expected, got "
                f"{self.frame_index.tolist()}"
            )

    def __len__(self) -> int:
        return len(self.frames)
