"""Tiny videos whose frames show their number."""

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
