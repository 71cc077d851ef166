"""Stream of frames that are already in memory."""

import hashlib
from collections.abc import Iterator

import numpy as np
import torch

from pipeline.decoding.request import FrameRequest
from pipeline.decoding.video_frames import VideoFrames
from pipeline.decoding.video_source import VideoSource


def array_sha256(frames: np.ndarray, fps: float) -> str:
    """Return the SHA-256 of the frames of a video and of their rate, as hex digits."""
    digest = hashlib.sha256(f"{frames.shape} {fps}".encode())
    digest.update(np.ascontiguousarray(frames).data)
    return digest.hexdigest()


class ArrayStream:
    """`FrameStream` of an array of frames.

    Args:
        frames: (T, H, W, 3) uint8, upright RGB frames.
        fps: frames per second.
        request: request that selects the frames. Its path names the video in messages.

    Attributes:
        source: properties of the video.
        num_frames: number of frames T.
    """

    def __init__(self, frames: np.ndarray, fps: float, request: FrameRequest) -> None:
        self._frames, self._request = frames, request
        T, height, width = frames.shape[:3]
        self.num_frames = T
        self.source: VideoSource = VideoSource(
            request.path, request.sha256, fps, T, width, height, T / fps, 0, "ignored"
        )

    def __iter__(self) -> Iterator[VideoFrames]:
        rows, size = self._request.pick(self), self._request.batch_size
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            images = torch.from_numpy(self._frames[part]).permute(0, 3, 1, 2)
            index = torch.tensor(part)
            yield VideoFrames(images, index, index.double() / self.source.fps, self.source)
