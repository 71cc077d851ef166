"""Reader of a folder of dumped frames, such as `ID.mp4/000089.png` of Action Genome.

File n contains frame n - 1 of the video; for Action Genome, of ffmpeg's constant-rate dump. The
number in a file name may have leading zeros, and `RGB_` before it, as in `RGB_89.png` of CAD-120.
All other files are ignored, such as `Depth_89.png`.
"""

import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, UnidentifiedImageError

from pipeline.decoding.images import DecodedImages
from pipeline.decoding.options import DecodeOptions
from pipeline.decoding.video_source import VideoSource
from pipeline.errors import FailureReason, ItemError

if TYPE_CHECKING:
    from pipeline.decoding.video_frames import VideoFrames

#: Name of the file that contains the frame rate of the dumped frames.
RATE_FILE = "fps.txt"
_NAME = re.compile(r"(?:RGB_)?([0-9]{1,9})\.(?:png|jpe?g)", re.IGNORECASE)
_EIGHT_BIT = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")


class FrameFolder:
    """Reader of dumped frames with the methods of `VideoReader` that an extraction calls.

    Attributes:
        source: properties of the folder. `edit_lists` is `dumped`. If frames are missing in
            tolerant mode, `is_degraded` is True and `num_frames` is the highest file number.
        timestamps_s: times of the num_frames frames, in seconds.

    Args:
        path: path of the folder.
        options: decoder options. Only `fps`, `max_pixels`, `max_frames` and `tolerant` are used.
            If `tolerant` is True, frames may be missing.
        sha256: hexadecimal SHA-256 of the folder (`video_sha256`).
        length_s: length of the video in its dataset, in seconds, or None if unknown.

    Raises:
        ItemError: UNREADABLE_VIDEO if a file has the number 0, two files have the same number, or
            `fps.txt` is malformed. TRUNCATED_VIDEO if frames are missing. NO_ANNOTATION if the
            frame rate is unknown. CORRUPT_VIDEO if the first image cannot be read. TOO_LARGE if an
            image or the highest file number is too large. NO_FRAMES if the folder has no images.
    """

    def __init__(
        self,
        path: Path,
        options: DecodeOptions | None = None,
        *,
        sha256: str,
        length_s: float | None = None,
    ) -> None:
        options = options or DecodeOptions()
        self._path, self._max_pixels = path, options.max_pixels
        self._files = images_by_number(path)
        last = max(self._files)
        if last > options.max_frames:
            raise ItemError(
                FailureReason.TOO_LARGE,
                f"{path.name}: at most {options.max_frames} frames expected, got "
                f"file {self._files[last].name}; raise decode.max_frames",
            )
        missing = [n for n in range(1, last + 1) if n not in self._files]
        if missing and not options.tolerant:
            raise _gap(path, missing, last)
        rate = _rate(path, _written_rate(path) or options.fps, None if missing else length_s, last)
        self.timestamps_s = [i / rate for i in range(last)]
        height, width = self._image(min(self._files), None).shape[:2]
        self.source = VideoSource(
            path=path,
            sha256=sha256,
            fps=rate,
            num_frames=last,
            width=width,
            height=height,
            duration_s=last / rate,
            rotation=0,
            edit_lists="dumped",
            is_degraded=bool(missing),
        )

    @property
    def num_frames(self) -> int:
        """Number of frames, including missing frames."""
        return self.source.num_frames

    def iterate(self, indices: Sequence[int], batch_size: int) -> Iterator["VideoFrames"]:
        """Yield the batches of `decode` as tensors."""
        for part in self.decode(indices, batch_size):
            yield part.as_frames()

    def decode(self, indices: Sequence[int], batch_size: int) -> Iterator[DecodedImages]:
        """Read frames in order and yield them in batches. Missing frames are skipped.

        Args:
            indices: 0-based frame indices below `num_frames`, strictly increasing.
            batch_size: maximum number of frames per batch.

        Raises:
            ItemError: CORRUPT_VIDEO if a frame cannot be read or differs in size from the first
                frame. TOO_LARGE if a frame has more than `max_pixels` pixels.
        """
        there = [i for i in indices if i + 1 in self._files]
        size = self.source.height, self.source.width
        for start in range(0, len(there), batch_size):
            picked = there[start : start + batch_size]
            images = [self._image(i + 1, size) for i in picked]
            yield DecodedImages.of(images, picked, self.timestamps_s, self.source)

    def _image(self, number: int, size: tuple[int, int] | None) -> np.ndarray:
        """Read an (H, W, 3) uint8 RGB image. Alpha and orientation tags are ignored."""
        path = self._files[number]
        name = f"{self._path.name}/{path.name}"
        try:
            with Image.open(path) as image:
                width, height = image.size
                if width * height > self._max_pixels:
                    raise ItemError(
                        FailureReason.TOO_LARGE,
                        f"{name}: at most {self._max_pixels} pixels expected, got "
                        f"{width}x{height}; raise decode.max_pixels",
                    )
                if image.mode not in _EIGHT_BIT:
                    raise ValueError(f"8 bits per channel expected, got mode {image.mode}")
                pixels = np.asarray(image.convert("RGB"))
        except Image.DecompressionBombError as error:
            raise ItemError(FailureReason.TOO_LARGE, f"{name}: {error}") from error
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
            raise ItemError(
                FailureReason.CORRUPT_VIDEO,
                f"{name}: cannot read the image: {error}; dump the video again",
            ) from error
        if size is not None and pixels.shape[:2] != size:
            raise ItemError(
                FailureReason.CORRUPT_VIDEO,
                f"{name}: size {size[1]}x{size[0]} of the first frame expected, got "
                f"{width}x{height}; dump the video again",
            )
        return pixels


def images_by_number(path: Path) -> dict[int, Path]:
    """Return the images of a folder by their number, which is 1 for the first frame.

    Raises:
        ItemError: UNREADABLE_VIDEO if a file has the number 0, or two files have the same number.
            NO_FRAMES if the folder has no images.
    """
    found: dict[int, Path] = {}
    for image in numbered_images(path):
        number = _number(image.name)
        first = found.setdefault(number, image)
        if first is not image:
            raise ItemError(
                FailureReason.UNREADABLE_VIDEO,
                f"{path.name}: one file per frame expected, got {first.name} and {image.name}, "
                f"both frame {number}; delete one of them",
            )
    if 0 in found or not found:
        raise ItemError(
            FailureReason.NO_FRAMES if not found else FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: images numbered from 1, such as 000001.png, expected, got "
            f"{found[0].name if found else 'none'}. Dump them with: ffmpeg -i VIDEO DIR/%06d.png",
        )
    return found


def _gap(path: Path, missing: list[int], last: int) -> ItemError:
    names = ", ".join(f"{n:06}" for n in missing[:3])
    return ItemError(
        FailureReason.TRUNCATED_VIDEO,
        f"{path.name}: frames 1 to {last} expected, {len(missing)} of them are missing ({names}"
        f"{', …' if len(missing) > 3 else ''}); dump all frames, or skip missing frames with "
        "decode.tolerant=true",
    )


def _written_rate(path: Path) -> float | None:
    """Return the number in `fps.txt`, such as 29.97 or 30000/1001, or None without this file."""
    file = path / RATE_FILE
    if not file.is_file():
        return None
    try:
        rate = float(Fraction(file.read_text(encoding="utf-8")[:100].strip()))
    except (ValueError, ZeroDivisionError, OverflowError):
        rate = 0.0
    if not 0.01 <= rate <= 1e6:
        raise ItemError(
            FailureReason.UNREADABLE_VIDEO,
            f"{path.name}/{RATE_FILE}: frames per second from 0.01 to 1e6 expected, such as 29.97 "
            "or 30000/1001",
        )
    return rate


def _rate(path: Path, fps: float | None, length_s: float | None, num_frames: int) -> float:
    if fps is not None:
        return fps
    if length_s:
        return num_frames / length_s
    raise ItemError(
        FailureReason.NO_ANNOTATION,
        f"{path.name}: frame rate unknown; write {RATE_FILE} beside the images, set decode.fps, or "
        "provide annotations with the length of the video (if no frame is missing)",
    )


def numbered_images(folder: Path) -> list[Path]:
    """Return the images of the frames of a folder, sorted by name (`is_numbered`)."""
    return sorted(p for p in folder.iterdir() if is_numbered(p.name) and p.is_file())


def is_numbered(name: str) -> bool:
    """Return whether a file name is a number with a PNG or JPEG suffix, possibly after `RGB_`."""
    return _NAME.fullmatch(name) is not None


def _number(name: str) -> int:
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1])
