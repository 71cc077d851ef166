"""Small JPEG images of the frames of a video."""

import io
from collections.abc import Collection, Iterator

import torch
from PIL import Image

from pipeline.decoding import FrameStream
from pipeline.decoding.video_frames import VideoFrames
from pipeline.decoding.video_source import VideoSource

#: Longest side of an image in pixels, and JPEG quality.
SIDE, QUALITY = 480, 75


class Thumbnails:
    """`FrameStream` that keeps a small image of each frame of another stream.

    Args:
        frames: the other stream.

    Attributes:
        images: JPEG data by frame index.
    """

    def __init__(self, frames: FrameStream) -> None:
        self._frames = frames
        self.images: dict[int, bytes] = {}

    @property
    def source(self) -> VideoSource | None:
        """Properties of the video, or None if they are not yet known."""
        return self._frames.source

    def __iter__(self) -> Iterator[VideoFrames]:
        for batch in self._frames:
            for index, frame in zip(batch.frame_index.tolist(), batch.frames, strict=True):
                self.images[index] = _jpeg(frame)
            yield batch

    def keep(self, frames: Collection[int], since: int) -> None:
        """Discard the images of all frames before the frame `since` that are not in `frames`."""
        kept = {i: data for i, data in self.images.items() if i >= since or i in frames}
        self.images = kept


def _jpeg(frame: torch.Tensor) -> bytes:
    image = Image.fromarray(frame.permute(1, 2, 0).contiguous().numpy())
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
