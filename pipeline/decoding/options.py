"""Decoder options."""

from dataclasses import dataclass
from typing import Literal

Backend = Literal["pyav", "opencv", "decord", "frames"]
Numbering = Literal["presentation", "dump"]


@dataclass(frozen=True)
class DecodeOptions:
    """Decoder options of all videos of a command.

    Attributes:
        backend: decoder of the frames. `pyav`, `opencv` and `decord` read video files. `frames`
            reads a `FrameFolder`. `opencv` and `decord` require undamaged files. Their frames are
            compared with the packets that PyAV reads, and a mismatch raises an error.
        tolerant: whether to return the decodable frames of a damaged file, which is marked as
            `is_degraded`. Requires `pyav` or `frames`.
        max_pixels: maximum number of pixels per frame.
        max_frames: maximum number of frames per video.
        timeout_s: time limit in seconds (wall-clock time). A decode process must return each
            batch of frames within this limit. decord must decode each whole video within it.
        fps: frames per second of a frame folder without `fps.txt`. If None, the number of frames
            is divided by the length of the video in the dataset.
    """

    backend: Backend = "pyav"
    tolerant: bool = False
    max_pixels: int = 3840 * 2160
    max_frames: int = 200_000
    timeout_s: float = 120.0
    fps: float | None = None
