"""Decoded frames as numpy arrays.

This package imports torch only to convert frames to tensors. Without torch, a decode process starts
faster and uses much less memory.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.decoding.video_source import VideoSource

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames


@dataclass(frozen=True)
class DecodedImages:
    """Decoded frames of one video as numpy arrays.

    Attributes:
        images: (T, 3, H, W) uint8 array of upright RGB images, contiguous.
        index: T 0-based frame indices, strictly increasing.
        times_s: times of the T frames, in seconds.
        source: properties of the video.
    """

    images: np.ndarray
    index: list[int]
    times_s: list[float]
    source: VideoSource

    @classmethod
    def of(
        cls, images: list[np.ndarray], index: list[int], times_s: list[float], source: VideoSource
    ) -> "DecodedImages":
        """Stack images of one size.

        Args:
            images: T upright RGB images, (H, W, 3) uint8, with T >= 1.
            index: 0-based frame indices of the images.
            times_s: times of all frames of the video, in seconds.
            source: properties of the video.
        """
        stacked = np.empty((len(images), 3, *images[0].shape[:2]), np.uint8)
        for row, image in zip(stacked, images, strict=True):
            row[:] = image.transpose(2, 0, 1)
        return cls(stacked, index, [times_s[i] for i in index], source)

    def as_frames(self) -> "VideoFrames":
        """Return the frames as tensors that share the memory of the images.

        Raises:
            ValueError: if the fields are not valid for `VideoFrames`.
        """
        import torch

        from pipeline.decoding.video_frames import VideoFrames

        return VideoFrames(
            torch.from_numpy(self.images),
            torch.tensor(self.index, dtype=torch.int64),
            torch.tensor(self.times_s, dtype=torch.float64),
            self.source,
        )
