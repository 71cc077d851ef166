"""A folder of dumped frames in the place of a video: `ID.mp4/000089.png`, as for Action Genome.

File n is frame n - 1 of ffmpeg's constant-rate dump, whatever the padding of its number.
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

#: Beside dumped frames: how many of them make a second.
RATE_FILE = "fps.txt"
_EIGHT_BIT = ("RGB", "RGBA", "L", "LA", "P", "PA", "1")


class FrameFolder:
    """Reads dumped frames, by the calls of `VideoReader` that an extraction makes.

    Attributes:
        source: of the folder; `edit_lists` is `dumped`. Where frames are missing and that is
            tolerated, it is `is_degraded`, and `num_frames` is the highest number.
        timestamps_s: (num_frames,) seconds.

    Args:
        path: the folder.
        options: of the decoder: `fps`, `tolerant` (read the existing frames if some are
            missing), `max_pixels` and `max_frames` are read.
        sha256: of its frames (`video_sha256`).
        length_s: of the video in its dataset, seconds, or None.

    Raises:
        ItemError: UNREADABLE_VIDEO for files that are no frames or two of one number,
            TRUNCATED_VIDEO where frames are missing, TOO_LARGE, NO_FRAMES, or NO_ANNOTATION where
            nothing tells how many frames make a second.
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
        self._files = _by_number(path)
        last = max(self._files)
        if last > options.max_frames:
            raise ItemError(
                FailureReason.TOO_LARGE,
                f"{path.name}: at most {options.max_frames} frames expected, got "
                f"{self._files[last].name}; raise decode.max_frames",
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
        """Frames that can be asked for."""
        return self.source.num_frames

    def iterate(self, indices: Sequence[int], batch_size: int) -> Iterator["VideoFrames"]:
        """The frames of `decode` as tensors."""
        for part in self.decode(indices, batch_size):
            yield part.as_frames()

    def decode(self, indices: Sequence[int], batch_size: int) -> Iterator[DecodedImages]:
        """Read frames in order, `batch_size` at a time, without those that are missing.

        Args:
            indices: 0-based, rising, below `num_frames`.
            batch_size: frames at a time.

        Raises:
            ItemError: CORRUPT_VIDEO for a frame that cannot be read or has another size, TOO_LARGE.
        """
        there = [i for i in indices if i + 1 in self._files]
        size = self.source.height, self.source.width
        for start in range(0, len(there), batch_size):
            picked = there[start : start + batch_size]
            images = [self._image(i + 1, size) for i in picked]
            yield DecodedImages.of(images, picked, self.timestamps_s, self.source)

    def _image(self, number: int, size: tuple[int, int] | None) -> np.ndarray:
        """RGB (H, W, 3) uint8; alpha is dropped, marks of orientation count for nothing."""
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
                    raise ValueError(f"8 bits a channel expected, got {image.mode}")
                pixels = np.asarray(image.convert("RGB"))
        except Image.DecompressionBombError as error:
            raise ItemError(FailureReason.TOO_LARGE, f"{name}: {error}") from error
        except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
            raise ItemError(
                FailureReason.CORRUPT_VIDEO,
                f"{name}: a whole image expected: {error}; dump the video again",
            ) from error
        if size is not None and pixels.shape[:2] != size:
            raise ItemError(
                FailureReason.CORRUPT_VIDEO,
                f"{name}: {size[1]}x{size[0]} as the first frame expected, got {width}x{height}",
            )
        return pixels


def _by_number(path: Path) -> dict[int, Path]:
    found: dict[int, Path] = {}
    for image in numbered_images(path):
        first = found.setdefault(int(image.stem), image)
        if first is not image:
            raise ItemError(
                FailureReason.UNREADABLE_VIDEO,
                f"{path.name}: one file per frame expected, {first.name} and {image.name} are both "
                f"frame {int(image.stem)}",
            )
    if 0 in found or not found:
        raise ItemError(
            FailureReason.NO_FRAMES if not found else FailureReason.UNREADABLE_VIDEO,
            f"{path.name}: frames numbered from 1, such as 000001.png, expected, "
            f"{found[0].name if found else 'none'} is there; dump: ffmpeg -i VIDEO DIR/%06d.png",
        )
    return found


def _gap(path: Path, missing: list[int], last: int) -> ItemError:
    names = ", ".join(f"{n:06}" for n in missing[:3])
    return ItemError(
        FailureReason.TRUNCATED_VIDEO,
        f"{path.name}: frames 1 to {last} expected, {len(missing)} of them are missing ({names}"
        f"{', …' if len(missing) > 3 else ''}); dump all frames, or take those that are there with "
        "decode.tolerant=true",
    )


def _written_rate(path: Path) -> float | None:
    """The number in `fps.txt`, such as 29.97 or 30000/1001; None where there is no such file."""
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
        f"{path.name}: frames per second expected, images do not tell: write {RATE_FILE} beside "
        "them, set decode.fps, or give the dataset's annotations, whose length of the video tells "
        "where no frame is missing",
    )


def numbered_images(folder: Path) -> list[Path]:
    """Files of a folder whose names are a number and a suffix of PNG or JPEG, by name."""
    return sorted(p for p in folder.iterdir() if is_numbered(p.name) and p.is_file())


def is_numbered(name: str) -> bool:
    """Whether a file name is a number and a suffix of PNG or JPEG."""
    return re.fullmatch(r"[0-9]{1,9}\.(png|jpe?g)", name, re.IGNORECASE) is not None
