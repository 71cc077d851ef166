"""Frames by OpenCV, grabbed in order; it tells nothing of damage, so its times are checked."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.decoding.scan import Scan
from pipeline.errors import FailureReason, ItemError


def opencv_images(path: Path, scan: Scan, ordinals: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Upright RGB images of some frames, counted in order of presentation.

    Yields:
        (ordinal, (H, W, 3) uint8), rising.

    Raises:
        ItemError: UNREADABLE_VIDEO, or CORRUPT_VIDEO where frames are missing or come at other
            times than those of their packets.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise ItemError(FailureReason.UNREADABLE_VIDEO, f"{path.name}: OpenCV cannot open it")
        wanted = set(ordinals)
        for ordinal in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                raise _damage(path, f"frame {ordinal} expected, OpenCV has no more")
            _check_time(path, scan, ordinal, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
            if ordinal in wanted:
                done, image = capture.retrieve()
                if not done:
                    raise _damage(path, f"frame {ordinal} expected, OpenCV cannot decode it")
                yield ordinal, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _check_time(path: Path, scan: Scan, ordinal: int, time_s: float) -> None:
    """Times since the first frame must agree within half a frame."""
    expected = scan.pts_s[ordinal] - scan.pts_s[0]
    offset = min(scan.pts_s[0] - scan.start_s, 0.0)
    if scan.has_pts and min(
        abs(time_s - expected), abs(time_s - expected - offset), abs(time_s - scan.pts_s[ordinal])
    ) > max(0.5 / scan.rate, 0.002):
        raise _damage(
            path, f"frame {ordinal} at {expected:.3f} s expected, OpenCV has {time_s:.3f} s"
        )


def _damage(path: Path, problem: str) -> ItemError:
    return ItemError(
        FailureReason.CORRUPT_VIDEO, f"{path.name}: {problem}; use decode.backend=pyav"
    )
