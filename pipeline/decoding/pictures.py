"""Conversion of decoded frames to upright RGB images, as in ffmpeg."""

import math
from typing import Any

import av
import numpy as np
from av.sidedata.sidedata import Type

Matrix = tuple[int, ...]


def display_matrix(frame: Any) -> Matrix | None:
    """Return the nine numbers of the display matrix of a frame, or None if there is none."""
    data = frame.side_data.get(Type.DISPLAYMATRIX)
    return None if data is None else tuple(np.frombuffer(bytes(data), np.int32).tolist())


def upright_filters(matrix: Matrix | None, *, is_mirrored: bool = True) -> list[tuple[str, str]]:
    """Return the filters (name, arguments) that ffmpeg applies for a display matrix.

    Args:
        matrix: display matrix, or None.
        is_mirrored: whether mirroring is applied, as in ffmpeg since version 5. Earlier versions,
            which dumped the frames of Action Genome, apply only the rotation.
    """
    if matrix is None:
        return []
    a, b, c, d = matrix[0], matrix[1], matrix[3], matrix[4]
    if not math.hypot(a, c) or not math.hypot(b, d):
        return []
    angle = round(math.degrees(math.atan2(b / math.hypot(b, d), a / math.hypot(a, c)))) % 360
    if angle == 90:
        return [("transpose", "cclock_flip" if is_mirrored and c > 0 else "clock")]
    if angle == 270:
        return [("transpose", "clock_flip" if is_mirrored and c < 0 else "cclock")]
    if angle == 180:
        flips = [("hflip", ""), ("vflip", "")]
        return [f for f, sign in zip(flips, (a, d), strict=True) if sign < 0 or not is_mirrored]
    if angle:
        return [("rotate", f"{angle}*PI/180")]
    return [("vflip", "")] if is_mirrored and d < 0 else []


class Pictures:
    """Converter of the frames of one video to upright RGB images.

    ffmpeg's filters are used, because the conversion of PyAV interpolates the colours of 10-bit and
    interlaced frames differently.

    Args:
        is_mirrored: see `upright_filters`.
    """

    def __init__(self, *, is_mirrored: bool) -> None:
        self._is_mirrored = is_mirrored
        self._key: object = None
        self._graph: Any = None
        self._size: list[tuple[str, str]] = []

    def turns(self, frame: Any) -> list[tuple[str, str]]:
        """Return the filters (name, arguments) that make a frame upright."""
        return upright_filters(display_matrix(frame), is_mirrored=self._is_mirrored)

    def convert(self, frame: Any) -> np.ndarray:
        """Return an upright (H, W, 3) uint8 RGB image.

        A frame of another size than the first one is scaled to the size of the first one.
        """
        turns = self.turns(frame)
        form = frame.width, frame.height, frame.format.name, frame.colorspace, frame.color_range
        if (form, turns) != self._key:
            self._graph, self._key = _graph(*form, [*turns, *self._size]), (form, turns)
        self._graph.push(frame)
        image = self._graph.pull().to_ndarray()
        self._size = [("scale", "{1}:{0}:flags=bicubic".format(*image.shape))]
        return np.ascontiguousarray(image)


def _graph(
    width: int,
    height: int,
    pixels: str,
    space: int,
    value_range: int,
    filters: list[tuple[str, str]],
) -> Any:
    graph = av.filter.Graph()
    graph.threads = 1
    source = graph.add(
        "buffer",
        video_size=f"{width}x{height}",
        pix_fmt=pixels,
        time_base="1/1000",
        pixel_aspect="1/1",
        colorspace=str(int(space)),
        range=str(int(value_range)),
    )
    words = [*filters, ("format", "rgb24"), ("buffersink", "")]
    graph.link_nodes(source, *(graph.add(name, text or None) for name, text in words)).configure()
    return graph
