"""Decoded images before they are tensors.

Nothing in this package imports torch before frames become tensors: without it a decode process
starts sooner and is smaller by most of its size.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipeline.decoding.video_source import VideoSource

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames


@dataclass(frozen=True)
class DecodedImages:
    """Some frames of one video.

    Attributes:
        images: (T, 3, H, W) uint8 RGB, upright, contiguous.
        index: T frame numbers, 0-based, rising.
        times_s: T seconds.
        source: of the video.
    """

    images: np.ndarray
    index: list[int]
    times_s: list[float]
    source: VideoSource

    @classmethod
    def of(
        cls, images: list[np.ndarray], index: list[int], times_s: list[float], source: VideoSource
    ) -> "DecodedImages":
        """Images (H, W, 3) of one size, stacked; `times_s` of all frames of the video."""
        stacked = np.empty((len(images), 3, *images[0].shape[:2]), np.uint8)
        for row, image in zip(stacked, images, strict=True):
            row[:] = image.transpose(2, 0, 1)
        return cls(stacked, index, [times_s[i] for i in index], source)

    def as_frames(self) -> "VideoFrames":
        """As tensors, of the same memory; ValueError if they are no `VideoFrames`."""
        import torch

        from pipeline.decoding.video_frames import VideoFrames

        return VideoFrames(
            torch.from_numpy(self.images),
            torch.tensor(self.index, dtype=torch.int64),
            torch.tensor(self.times_s, dtype=torch.float64),
            self.source,
        )
