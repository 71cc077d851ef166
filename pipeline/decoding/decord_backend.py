"""Decoding with decord in a child process with a time limit.

decord can hang or crash its process. The frame count of decord is wrong if an edit list hides
frames. The frame count and timestamps are therefore compared with the packets of the file. decord
also returns wrong frames after a seek in an open GOP, so frames are decoded in order.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipeline.decoding.pipe import ChildPipe, DeadChildError, SilentChildError
from pipeline.decoding.scan import Scan
from pipeline.errors import FailureReason, ItemError, UsageError

CHILD = Path(__file__).with_name("decord_child.py")


def check_decord() -> None:
    """Raise UsageError if decord is not installed."""
    try:
        is_there = importlib.util.find_spec("decord") is not None
    except ValueError:
        is_there = False
    if not is_there:
        raise UsageError(
            "decode.backend=decord: package decord not found. Install it with: "
            "pip install decord (decord2 if decord has no wheel), or use decode.backend=pyav"
        )


def decord_images(
    path: Path, scan: Scan, ordinals: list[int], timeout_s: float, child: Path = CHILD
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode frames with decord.

    Args:
        path: path of the video.
        scan: scan of its packets.
        ordinals: 0-based positions of the frames in presentation order, increasing.
        timeout_s: time limit for all frames, in seconds. If it is exceeded, the child is killed.
        child: path of the script that decodes.

    Yields:
        Pairs (ordinal, (H, W, 3) uint8 RGB image) in increasing order of ordinals.

    Raises:
        ItemError: DECODE_TIMEOUT, DECODER_DIED, or CORRUPT_VIDEO if decord's frame count or
            timestamps differ from the packets.
    """
    words = [sys.executable, str(child), str(path.resolve()), json.dumps(ordinals)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        pipe = ChildPipe(process)
        pipe.allow(timeout_s)
        try:
            head = json.loads(pipe.read_line())
            _check(path, scan, ordinals, head)
            size = head["height"] * head["width"] * 3
            for ordinal in ordinals:
                image = np.frombuffer(pipe.read(size), dtype=np.uint8)
                yield ordinal, image.reshape(head["height"], head["width"], 3)
        except SilentChildError:
            raise ItemError(
                FailureReason.DECODE_TIMEOUT,
                f"{path.name}: decord did not finish within {timeout_s:g} s and was killed; use "
                "decode.backend=pyav, or raise decode.timeout_s",
            ) from None
        except DeadChildError as error:
            raise ItemError(
                FailureReason.DECODER_DIED,
                f"{path.name}: the decord process died ({error}); use decode.backend=pyav",
            ) from None
        finally:
            pipe.close()
            process.kill()


def _check(path: Path, scan: Scan, ordinals: list[int], head: dict[str, object]) -> None:
    problem = ""
    starts = head["starts_s"]
    assert isinstance(starts, list)
    if head["num_frames"] != len(scan.pts_s):
        problem = f"{len(scan.pts_s)} frames expected, decord found {head['num_frames']}"
    elif scan.has_pts:
        first = scan.pts_s[0]
        for ordinal, start in zip(ordinals, starts, strict=True):
            wanted = scan.pts_s[ordinal]
            if min(abs(start - wanted), abs(start - wanted + first)) > 0.5 / scan.rate:
                problem = (
                    f"frame {ordinal} expected at {wanted:.3f} s, decord reports {start:.3f} s"
                )
                break
    if problem:
        raise ItemError(
            FailureReason.CORRUPT_VIDEO, f"{path.name}: {problem}; use decode.backend=pyav"
        )
