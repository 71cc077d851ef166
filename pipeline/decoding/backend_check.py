"""Check that OpenCV or decord shows the frames of a video as ffmpeg does."""

from typing import Any

from pipeline.decoding.options import Backend
from pipeline.decoding.scan import Scan

#: Eight-bit pixel formats for which all backends return equal pixels.
_EQUAL_PIXELS = frozenset(
    {
        "yuv420p",
        "yuvj420p",
        "yuv422p",
        "yuvj422p",
        "yuv444p",
        "yuvj444p",
        "yuva420p",
        "nv12",
        "gray",
        "gbrp",
        "rgb24",
        "rgba",
    }
)
#: Rotations of the container that OpenCV applies.
_OPENCV_TURNS: tuple[list[tuple[str, str]], ...] = (
    [],
    [("transpose", "clock")],
    [("transpose", "cclock")],
    [("hflip", ""), ("vflip", "")],
)


def backend_problem(
    backend: Backend, scan: Scan, frame: Any, turns: list[tuple[str, str]], hides_frames: bool
) -> str:
    """Return why a backend would return other frames than PyAV, or an empty string.

    Args:
        backend: backend.
        scan: scan of the video.
        frame: first decoded frame.
        turns: filters that make the frame upright; see `upright_filters`.
        hides_frames: whether the requested frames include frames that an edit list hides.
    """
    if backend in ("pyav", "frames"):
        return ""
    if hides_frames:
        return f"its edit list hides frames, which {backend} cannot decode"
    if scan.num_streams > 1:
        return f"{backend} may read another one of its {scan.num_streams} video streams"
    if frame.format.name not in _EQUAL_PIXELS:
        return f"{backend} converts its pixel format {frame.format.name} differently"
    if backend == "opencv" and frame.interlaced_frame:
        return "OpenCV converts its interlaced frames differently"
    if backend == "decord" and turns:
        return "decord ignores its rotation or mirroring"
    if turns not in _OPENCV_TURNS:
        return "OpenCV ignores its mirroring"
    if backend == "decord" and scan.may_jump:
        return "decord loses the first frames of a transport or program stream"
    return ""
