"""How videos are decoded."""

from dataclasses import dataclass
from typing import Literal

Backend = Literal["pyav", "opencv", "decord", "frames"]
Numbering = Literal["presentation", "dump"]


@dataclass(frozen=True)
class DecodeOptions:
    """Options of the decoder, the same for all videos of a command.

    Attributes:
        backend: what decodes the pixels. `opencv` and `decord` serve undamaged files; PyAV reads
            the packets in any case, and a disagreement is an error. `frames` reads a `FrameFolder`.
        tolerant: return what can be decoded of a damaged file, marked `is_degraded`. Requires
            `pyav` or `frames`.
        max_pixels: largest frame accepted, in pixels.
        max_frames: most frames accepted.
        timeout_s: wall-clock limit, in seconds: without a frame of a video, for decord on a whole
            one.
        fps: frames per second of dumped frames without a file `fps.txt`; None takes the number of
            frames divided by the dataset's length of the video.
    """

    backend: Backend = "pyav"
    tolerant: bool = False
    max_pixels: int = 3840 * 2160
    max_frames: int = 200_000
    timeout_s: float = 120.0
    fps: float | None = None
