"""Selection of frames from a video or a clip."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ClipSampling:
    """Selection of evenly spaced clips of consecutive frames, the inputs of a video network.

    A clip has `length` frames at `rate` frames per second. Frame j of a clip is frame
    floor(j fps / rate) after its first one. The first clip begins with the video, and the last one
    ends with it; a single clip is in the middle. In a video that is shorter than a clip, the last
    frame is repeated, and there is one clip. Clips that begin with the same frame count once.

    Attributes:
        num: largest number of clips.
        length: number of frames of a clip.
        rate: frames per second of a clip.
        first: 0-based index of the first frame of the sample.
        last: index of the last frame of the sample, or None for the last frame of the video.
    """

    num: int
    length: int
    rate: float
    first: int = 0
    last: int | None = None

    def clips(self, num_frames: int, fps: float) -> list[list[int]]:
        """Return the 0-based frame indices of each clip.

        Args:
            num_frames: number of frames of the video.
            fps: frames per second of the video.

        Returns:
            At most `num` lists of `length` indices, which do not decrease, sorted by their first
            index.
        """
        last = num_frames - 1 if self.last is None else self.last
        offsets = [int(j * (fps / self.rate)) for j in range(self.length)]
        slack = max(last - self.first - offsets[-1], 0)
        starts = [slack // 2]
        if self.num > 1:
            starts = sorted({k * slack // (self.num - 1) for k in range(self.num)})
        return [[min(self.first + s + offset, last) for offset in offsets] for s in starts]


def segment_rows(
    num_rows: int,
    num_segments: int,
    rng: np.random.Generator | None = None,
    *,
    ends: bool = False,
) -> list[int]:
    """Return one row of each of n = min(num_rows, num_segments) equal segments.

    Segment i contains the rows floor(i num_rows / n) to floor((i + 1) num_rows / n) - 1.

    Args:
        num_rows: number of rows.
        num_segments: maximum number of segments.
        rng: random generator. If it is not None, a random row of each segment is returned, as in
            training. If None, the centre row floor((i + 1/2) num_rows / n) is returned.
        ends: if True, the first and the last row are always returned, and n - 2 rows between them:
            evenly spaced rows, or with `rng` one random row of each of n - 2 segments. It has no
            effect if n is less than 2.

    Returns:
        n row indices, strictly increasing.
    """
    n = min(num_rows, num_segments)
    if ends and 2 <= n < num_rows:
        if rng is None:
            return [(2 * i * (num_rows - 1) + n - 1) // (2 * (n - 1)) for i in range(n)]
        inner = segment_rows(num_rows - 2, n - 2, rng) if n > 2 else []
        return [0, *(1 + row for row in inner), num_rows - 1]
    if rng is None or n == num_rows:
        return [(2 * i + 1) * num_rows // (2 * n) for i in range(n)]
    edges = [i * num_rows // n for i in range(n + 1)]
    return [int(rng.integers(low, high)) for low, high in itertools.pairwise(edges)]


def uniform_rows(frame_index: Sequence[int], num_frames: int, num: int) -> list[int]:
    """Return the rows of the uniform frames of a clip, without the annotated frames between them.

    Annotated frames lie within the actions. They are not used as input of a network with detected
    boxes, because their positions would reveal when the actions occur.

    Args:
        frame_index: 0-based indices of the cached frames, increasing.
        num_frames: number of frames of the video.
        num: number of uniform frames (setting `frames.num` of the extraction).

    Returns:
        Indices into `frame_index`, increasing.
    """
    wanted = set(segment_rows(num_frames, num))
    return [row for row, index in enumerate(frame_index) if index in wanted]


def choose_frames(num_frames: int, num: int, annotated: Sequence[int] = ()) -> list[int]:
    """Return the indices of the uniform frames and the annotated frames of a video.

    The uniform frames are the centre frames of `num` equal segments.

    Args:
        num_frames: number of frames of the video.
        num: number of segments.
        annotated: 0-based indices of annotated frames.

    Returns:
        0-based frame indices without duplicates, increasing.
    """
    return sorted({*segment_rows(num_frames, num), *annotated})


def window_segments(duration_s: float, window_s: float, size: int) -> int:
    """Return the number of equal segments of a video that is explained in windows.

    A window consists of `size` consecutive segments and is at most `window_s` long. Each window
    begins `window_hop(size)` segments after the previous one, and the last one ends with the video.

    Args:
        duration_s: length of the video in seconds.
        window_s: longest length of a window.
        size: number of sampled frames of a window, one per segment.

    Returns:
        `size` if the video is at most `window_s` long.
    """
    hop = window_hop(size)
    needed = duration_s / window_s * size - size
    return size + hop * max(math.ceil(needed / hop - 1e-9), 0)


def window_hop(size: int) -> int:
    """Return the number of segments by which consecutive windows of `size` segments differ."""
    return max(size // 2, 1)
