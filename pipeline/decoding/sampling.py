"""Which of a clip's frames become tokens."""

import itertools
from collections.abc import Sequence

import numpy as np


def segment_rows(
    num_rows: int, num_segments: int, rng: np.random.Generator | None = None
) -> list[int]:
    """One row of each of `num_segments` equal segments, rising.

    Segment i of n holds the rows floor(i num_rows / n) to floor((i + 1) num_rows / n) - 1.

    Args:
        num_rows: rows there are; no more than `num_segments` of them: all are taken.
        num_segments: T.
        rng: draws a row of each segment (training); None takes the centre,
            floor((i + 1/2) num_rows / n).

    Returns:
        At most T rows.
    """
    n = min(num_rows, num_segments)
    if rng is None or n == num_rows:
        return [(2 * i + 1) * num_rows // (2 * n) for i in range(n)]
    edges = [i * num_rows // n for i in range(n + 1)]
    return [int(rng.integers(low, high)) for low, high in itertools.pairwise(edges)]


def uniform_rows(frame_index: Sequence[int], num_frames: int, num: int) -> list[int]:
    """Rows of the frames that `frames.num` took, without annotated ones that were added.

    Annotated frames lie inside the actions: a network that reads detected boxes must not be told
    where those are.

    Args:
        frame_index: of the cached frames, rising.
        num_frames: of the video.
        num: `frames.num` of the extraction.
    """
    wanted = set(segment_rows(num_frames, num))
    return [row for row, index in enumerate(frame_index) if index in wanted]


def choose_frames(num_frames: int, num: int, annotated: Sequence[int] = ()) -> list[int]:
    """Centres of `num` segments of a video and the annotated frames, once each, rising."""
    return sorted({*segment_rows(num_frames, num), *annotated})
