"""Frames of a video file, a frame folder or an array."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.decoding import DecodeOptions, FrameRequest
from pipeline.decoding.array_stream import ArrayStream
from pipeline.decoding.frame_folder import FrameFolder
from pipeline.decoding.options import Numbering
from pipeline.decoding.reader import VideoReader
from pipeline.decoding.video_frames import VideoFrames
from pipeline.errors import FailureReason, ItemError
from pipeline.explanation.explanation import Explanation

#: Frames that are decoded at once.
BATCH = 4


class Pictures:
    """All frames of a video in order, as images.

    Args:
        explanation: explanation of the video.
        source: video file, frame folder, or (T, H, W, 3) uint8 array of RGB images.
        options: decoder options. Video files are always decoded by PyAV, because the other
            backends return the same frames but keep a whole video in memory.
        numbering: frame numbering; see `open_video`.

    Attributes:
        times_s: times of all frames in seconds from the start of playback.
        end_s: end of the last frame in seconds.
        size: width and height of the upright frames in pixels.
        rate: nominal frames per second.

    Raises:
        ItemError: if the video cannot be opened. CHANGED_VIDEO if its frames have another size than
            the frames of the explanation.
    """

    def __init__(
        self,
        explanation: Explanation,
        source: Path | np.ndarray,
        options: DecodeOptions,
        numbering: Numbering,
    ) -> None:
        video = explanation.video
        self._opened: VideoReader | FrameFolder | None = None
        self._array: ArrayStream | None = None
        if isinstance(source, np.ndarray):
            request = FrameRequest(
                Path(video.id), video.sha256, num_uniform=len(source), batch_size=BATCH
            )
            self._array = ArrayStream(source, video.fps, request)
            properties = self._array.source
            self.times_s: Sequence[float] = [i / video.fps for i in range(len(source))]
        else:
            if options.backend == "frames":
                options = replace(options, fps=video.fps)
            else:
                options = replace(options, backend="pyav")
            request = FrameRequest(source, video.sha256, options, numbering)
            self._opened = request.open()
            properties, self.times_s = self._opened.source, self._opened.timestamps_s
        self.end_s, self.rate = properties.duration_s, rate_of(properties.fps)
        self.size = properties.width, properties.height
        if self.size != (video.width, video.height):
            raise ItemError(
                FailureReason.CHANGED_VIDEO,
                f"{properties.path.name}: frames of {video.width}x{video.height} pixels as in its "
                f"explanation expected, got {self.size[0]}x{self.size[1]}; predict it again",
            )

    def __len__(self) -> int:
        return len(self.times_s)

    def __iter__(self) -> Iterator[tuple[int, Image.Image]]:
        """Yield the number and the RGB image of each frame. Frames may be missing if damaged.

        Raises:
            ItemError: if a frame cannot be decoded.
        """
        for batch in self._batches():
            for number, frame in zip(batch.frame_index.tolist(), batch.frames, strict=True):
                planes = [Image.fromarray(plane) for plane in frame.numpy()]
                yield number, Image.merge("RGB", planes)

    def _batches(self) -> Iterator[VideoFrames]:
        if self._opened is not None:
            return self._opened.iterate(range(len(self)), BATCH)
        assert self._array is not None
        return iter(self._array)


def rate_of(fps: float) -> Fraction:
    """Return the frame rate as a fraction, such as 30000/1001 for 29.97002997."""
    return Fraction(fps).limit_denominator(1001)
