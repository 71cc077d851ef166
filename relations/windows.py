"""Which pairs attend to each other: those of a frame, and those of two frames in a row.

Pairs are sorted by frame, so that every window is a span of rows; all are cut out at once.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """W spans of pairs, padded to the longest.

    Attributes:
        rows: (W, L) int64 rows of pairs; 0 where padded.
        mask: (W, L) bool, True where real; every window has at least one.
        is_latter: (W, L) bool: the pair is of the window's second frame.
        window, slot: (P,) int64 place from which the result of each pair is taken.
    """

    rows: Int64[Tensor, "W L"]
    mask: Bool[Tensor, "W L"]
    is_latter: Bool[Tensor, "W L"]
    window: Int64[Tensor, "P"]
    slot: Int64[Tensor, "P"]


def frame_windows(pairs_per_frame: Int64[Tensor, "T"]) -> Windows:
    """A window per frame that has pairs."""
    end = pairs_per_frame.cumsum(0)
    return _cut(end - pairs_per_frame, end, end, torch.repeat_interleave(pairs_per_frame))


def two_frame_windows(
    pairs_per_frame: Int64[Tensor, "T"], frames_per_video: Int64[Tensor, "B"]
) -> Windows:
    """Windows of two frames in a row, one frame apart, within each video (STTran, Sec. 3.3).

    A pair's result comes from the window in which its frame is the second; the first frame of a
    video takes it from the window in which it is the first. A frame without pairs is an empty
    neighbour; the only frame of a video is its own window.
    """
    T = len(pairs_per_frame)
    frames = torch.arange(T, device=pairs_per_frame.device)
    is_first = torch.zeros(T + 1, dtype=torch.bool, device=frames.device)
    last = frames_per_video.cumsum(0)
    is_first[last - frames_per_video] = True  # a video without frames marks its successor's start
    is_first[last[-1:]] = True
    # Windows are named by their second frame; a video's only frame is second to nothing.
    latter = torch.where(is_first[:-1] & ~is_first[1:], frames + 1, frames)
    end = pairs_per_frame.cumsum(0)
    start = end - pairs_per_frame
    earlier = torch.where(is_first[:-1], frames, frames - 1)
    middle = torch.where(is_first[:-1], end, start)
    return _cut(start[earlier], middle, end, latter[torch.repeat_interleave(pairs_per_frame)])


def pairs_of_first_frames(
    pairs_per_frame: Int64[Tensor, "T"], frames_per_video: Int64[Tensor, "B"]
) -> Bool[Tensor, "P"]:
    """Pairs of videos in which no frame but the first has any."""
    B = len(frames_per_video)
    video = torch.repeat_interleave(frames_per_video)
    total = pairs_per_frame.new_zeros(B).index_add(0, video, pairs_per_frame)
    first = frames_per_video.cumsum(0) - frames_per_video
    there = frames_per_video > 0
    alone = torch.zeros(B, dtype=torch.bool, device=total.device)
    alone[there] = total[there] == pairs_per_frame[first[there]]
    return alone[video][torch.repeat_interleave(pairs_per_frame)]


def _cut(start: Tensor, middle: Tensor, end: Tensor, name_of_pair: Tensor) -> Windows:
    """Windows by name: rows [start, end), of which those from `middle` on are of the second frame.

    Only windows that give some pair its result are made.
    """
    names, window = name_of_pair.unique(return_inverse=True)
    low, cut, high = start[names, None], middle[names, None], end[names, None]
    length = int((high - low).max()) if len(names) else 0
    rows = low + torch.arange(length, device=low.device)
    mask = rows < high
    pair = torch.arange(len(name_of_pair), device=low.device)
    return Windows(rows * mask, mask, (rows >= cut) & mask, window, pair - start[name_of_pair])
