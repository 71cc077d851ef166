"""Decoding with OpenCV in presentation order.

OpenCV does not report corrupt frames. Its timestamps are therefore compared with the timestamps of
the packets.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.decoding.scan import Scan
from pipeline.errors import FailureReason, ItemError


def opencv_images(path: Path, scan: Scan, ordinals: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames with OpenCV.

    Args:
        path: path of the video.
        scan: scan of its packets.
        ordinals: 0-based positions of the frames in presentation order, increasing.

    Yields:
        Pairs (ordinal, upright (H, W, 3) uint8 RGB image) in increasing order of ordinals.

    Raises:
        ItemError: UNREADABLE_VIDEO if OpenCV cannot open the file. CORRUPT_VIDEO if frames are
            missing or their timestamps differ from the timestamps of the packets.
    """
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise ItemError(
                FailureReason.UNREADABLE_VIDEO,
                f"{path.name}: OpenCV cannot open the file; use decode.backend=pyav",
            )
        wanted = set(ordinals)
        for ordinal in range(max(wanted, default=-1) + 1):
            if not capture.grab():
                raise _damage(path, f"OpenCV found no frame {ordinal}")
            _check_time(path, scan, ordinal, capture.get(cv2.CAP_PROP_POS_MSEC) / 1e3)
            if ordinal in wanted:
                done, image = capture.retrieve()
                if not done:
                    raise _damage(path, f"OpenCV cannot decode frame {ordinal}")
                yield ordinal, cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _check_time(path: Path, scan: Scan, ordinal: int, time_s: float) -> None:
    """Check that the time since the first frame is correct to within half a frame."""
    expected = scan.pts_s[ordinal] - scan.pts_s[0]
    offset = min(scan.pts_s[0] - scan.start_s, 0.0)
    if scan.has_pts and min(
        abs(time_s - expected), abs(time_s - expected - offset), abs(time_s - scan.pts_s[ordinal])
    ) > max(0.5 / scan.rate, 0.002):
        raise _damage(
            path,
            f"frame {ordinal} expected at {expected:.3f} s, OpenCV reports {time_s:.3f} s",
        )


def _damage(path: Path, problem: str) -> ItemError:
    return ItemError(
        FailureReason.CORRUPT_VIDEO, f"{path.name}: {problem}; use decode.backend=pyav"
    )
