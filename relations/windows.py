"""Attention windows over the pairs of one frame or of two consecutive frames.

Pairs are sorted by frame. Every window is therefore a range of rows. All windows are built at once.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int64
from torch import Tensor


@dataclass(frozen=True)
class Windows:
    """W windows of consecutive pairs, padded to the longest window.

    Attributes:
        rows: (W, L) int64 rows of the pairs, 0 for padding.
        mask: (W, L) bool, False for padding. Every window has at least one pair.
        is_latter: (W, L) bool, True for pairs of the window's second frame.
        window: (P,) int64 window from which the result of each pair is taken.
        slot: (P,) int64 position of each pair in that window.
    """

    rows: Int64[Tensor, "W L"]
    mask: Bool[Tensor, "W L"]
    is_latter: Bool[Tensor, "W L"]
    window: Int64[Tensor, "P"]
    slot: Int64[Tensor, "P"]


def frame_windows(pairs_per_frame: Int64[Tensor, "T"]) -> Windows:
    """Return one window for each frame that has pairs."""
    end = pairs_per_frame.cumsum(0)
    return _cut(end - pairs_per_frame, end, end, torch.repeat_interleave(pairs_per_frame))


def two_frame_windows(
    pairs_per_frame: Int64[Tensor, "T"], frames_per_video: Int64[Tensor, "B"]
) -> Windows:
    """Return sliding windows of two consecutive frames of a video (STTran, Sec. 3.3).

    The result of a pair is taken from the window in which its frame is the second frame. The first
    frame of a video is not the second frame of any window. The results of its pairs are taken from
    the window that begins with this frame. A frame without pairs adds no rows to its windows. If a
    video has only one frame, this frame is its own window.

    Args:
        pairs_per_frame: number of pairs of each frame.
        frames_per_video: number of frames of each video.
    """
    T = len(pairs_per_frame)
    frames = torch.arange(T, device=pairs_per_frame.device)
    is_first = torch.zeros(T + 1, dtype=torch.bool, device=frames.device)
    last = frames_per_video.cumsum(0)
    is_first[last - frames_per_video] = True  # an empty video marks the next video's start
    is_first[last[-1:]] = True
    # A window has the index of its second frame, or of the only frame of its video.
    latter = torch.where(is_first[:-1] & ~is_first[1:], frames + 1, frames)
    end = pairs_per_frame.cumsum(0)
    start = end - pairs_per_frame
    earlier = torch.where(is_first[:-1], frames, frames - 1)
    middle = torch.where(is_first[:-1], end, start)
    return _cut(start[earlier], middle, end, latter[torch.repeat_interleave(pairs_per_frame)])


def pairs_of_first_frames(
    pairs_per_frame: Int64[Tensor, "T"], frames_per_video: Int64[Tensor, "B"]
) -> Bool[Tensor, "P"]:
    """Return a mask that is True for pairs of videos in which only the first frame has pairs."""
    B = len(frames_per_video)
    video = torch.repeat_interleave(frames_per_video)
    total = pairs_per_frame.new_zeros(B).index_add(0, video, pairs_per_frame)
    first = frames_per_video.cumsum(0) - frames_per_video
    there = frames_per_video > 0
    alone = torch.zeros(B, dtype=torch.bool, device=total.device)
    alone[there] = total[there] == pairs_per_frame[first[there]]
    return alone[video][torch.repeat_interleave(pairs_per_frame)]


def _cut(start: Tensor, middle: Tensor, end: Tensor, name_of_pair: Tensor) -> Windows:
    """Build the windows from which the result of at least one pair is taken.

    Args:
        start: first row of each window.
        middle: first row of the second frame of each window.
        end: end row of each window (exclusive).
        name_of_pair: index of the window from which the result of each pair is taken.
    """
    names, window = name_of_pair.unique(return_inverse=True)
    low, cut, high = start[names, None], middle[names, None], end[names, None]
    length = int((high - low).max()) if len(names) else 0
    rows = low + torch.arange(length, device=low.device)
    mask = rows < high
    pair = torch.arange(len(name_of_pair), device=low.device)
    return Windows(rows * mask, mask, (rows >= cut) & mask, window, pair - start[name_of_pair])
