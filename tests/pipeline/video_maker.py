"""Tiny videos whose frames show their number, and changes of the headers of MP4 files."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def numbered_image(number: int, width: int = 64, height: int = 48) -> np.ndarray:
    """Return an RGB image with the bits of a number as columns, and noise in the lower half."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for bit in range(8):
        step = width // 8
        image[:, bit * step : (bit + 1) * step] = 255 * (number >> bit & 1)
    noise = np.random.default_rng(number).integers(0, 256, (height // 2, width, 1))
    image[height - height // 2 :] = noise.astype(np.uint8)
    return image


def number_of(image: np.ndarray) -> int:
    """Return the number that an (H, W, 3) image of `numbered_image` shows."""
    step = image.shape[1] // 8
    return sum(int(image[:, bit * step : (bit + 1) * step].mean() > 127) << bit for bit in range(8))


def write_clip(
    path: Path,
    num: int = 40,
    *,
    times: list[int] | None = None,
    rate: int = 25,
    size: tuple[int, int] = (64, 48),
    options: dict[str, str] | None = None,
) -> Path:
    """Encode an H.264 video.

    Frame i is shown at `times[i] / rate` seconds. By default, it is shown at `i / rate` seconds.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        given: dict[str, str] = options or {}
        stream.options = {"crf": "10", "g": "12", "threads": "1", **given}
        for i in range(num):
            frame = av.VideoFrame.from_ndarray(numbered_image(i, *size), format="rgb24")
            frame.pts = i if times is None else times[i]
            frame.time_base = Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def with_matrix(mp4: bytes, numbers: tuple[float, float, float, float]) -> bytes:
    """Return an MP4 file with another display matrix (a, b; c, d) in its first track."""
    a, b, c, d = (round(number * 65536) for number in numbers)
    at = mp4.index(b"tkhd") + 44
    return mp4[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + mp4[at + 36 :]


def with_edit(mp4: bytes, start_s: float, length_s: float) -> bytes:
    """Return an MP4 file whose only edit shows `length_s` seconds from `start_s` on."""
    ticks = [struct.unpack_from(">I", mp4, mp4.index(b) + 16)[0] for b in (b"mvhd", b"mdhd")]
    at = mp4.index(b"elst") + 12
    number, _, media_time = struct.unpack_from(">IIi", mp4, at - 4)
    assert number == 1
    edit = struct.pack(">Ii", round(length_s * ticks[0]), media_time + round(start_s * ticks[1]))
    return mp4[:at] + edit + mp4[at + 8 :]
