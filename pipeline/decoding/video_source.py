"""Where decoded frames come from."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class VideoSource:
    """A video file as it was found.

    Attributes:
        path: where it lies.
        sha256: of its bytes, hex.
        fps: nominal frames per second.
        num_frames: frames that can be asked for.
        width: pixels of an upright frame.
        height: pixels of an upright frame.
        duration_s: from the player's zero to the last frame, seconds.
        rotation: degrees, counter-clockwise, that made the frames upright.
        edit_lists: whether the container's edit lists were followed; `dumped` where the frames
            came as images.
        is_degraded: damage was tolerated.
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

    def to_dict(self) -> dict[str, Any]:
        """As JSON, without the path."""
        return {name: value for name, value in asdict(self).items() if name != "path"}
