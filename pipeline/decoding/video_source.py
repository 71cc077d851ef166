"""Properties of a decoded video."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class VideoSource:
    """Properties of a decoded video file or frame folder.

    Attributes:
        path: path of the file or folder.
        sha256: hexadecimal SHA-256 of the video (`video_sha256`).
        fps: nominal frames per second.
        num_frames: number of frames.
        width: width of an upright frame, in pixels.
        height: height of an upright frame, in pixels.
        duration_s: time from the start of playback to the end of the last frame, in seconds.
        rotation: counter-clockwise rotation, in degrees, applied to make the frames upright. A
            mirrored video is also flipped.
        edit_lists: treatment of the container's edit lists, `applied` or `ignored`. For a frame
            folder, `dumped`.
        is_degraded: whether damage was found and tolerated.
        is_rescaled: whether the size of the decoded frames changes. They are then scaled to the
            size of the first frame.
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
    is_rescaled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes as JSON values, without the path."""
        return {name: value for name, value in asdict(self).items() if name != "path"}
