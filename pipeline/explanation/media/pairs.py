"""Human-object pairs at any time of a video, between the sampled frames by interpolation."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import Token

Rect = tuple[float, float, float, float]


@dataclass(frozen=True)
class ShownPair:
    """Human-object pair in one frame of a video.

    Attributes:
        token: token of the nearest sampled frame. It states the names and whether it is kept.
        human: box of the human in pixels of the decoded frame.
        object: box of the object.
        is_sampled: whether the frame is sampled. Otherwise, the boxes are interpolated.
    """

    token: Token
    human: Rect
    object: Rect
    is_sampled: bool


@dataclass(frozen=True)
class _Window:
    """Sampled frames of a window.

    Attributes:
        numbers: numbers of the frames in the video, increasing.
        times: their times in seconds.
        tokens: tokens of each frame by track.
    """

    numbers: list[int]
    times: list[float]
    tokens: list[dict[int, Token]]


class PairTimeline:
    """Pairs of each frame of a video.

    The boxes of a track are interpolated linearly in time between consecutive sampled frames that
    both have a token of the track. A track is not shown anywhere else. If windows overlap, the
    window whose centre is nearest is shown.

    Args:
        explanation: the explanation.
        times_s: times of all frames of the video in seconds, increasing. A sampled frame is the
            frame with its `frame_index` if the times agree, otherwise the frame that is nearest in
            time.
    """

    def __init__(self, explanation: Explanation, times_s: Sequence[float]) -> None:
        self._times = times_s
        by_frame: dict[int, dict[int, Token]] = {}
        for token in explanation.tokens:
            by_frame.setdefault(token.t, {})[token.track] = token
        near = 0.5 / explanation.video.fps if explanation.video.fps > 0 else 0.5
        windows: dict[int, dict[int, dict[int, Token]]] = {}
        self.sampled: dict[int, bool] = {}
        for frame in explanation.sampling.frames:
            number = matching_frame(frame.frame_index, frame.time_s, times_s, near)
            windows.setdefault(frame.window, {}).setdefault(number, by_frame.get(frame.t, {}))
            self.sampled[number] = self.sampled.get(number, False) or frame.is_kept
        self._windows = [
            _Window(
                sorted(rows), [times_s[i] for i in sorted(rows)], [rows[i] for i in sorted(rows)]
            )
            for rows in windows.values()
        ]

    def at(self, number: int) -> list[ShownPair]:
        """Return the pairs of a frame, by its number in the video."""
        time = self._times[number]
        there = [w for w in self._windows if w.numbers[0] <= number <= w.numbers[-1]]
        if not there:
            return []
        window = min(there, key=lambda w: abs((w.times[0] + w.times[-1]) / 2 - time))
        left = bisect_right(window.numbers, number) - 1
        before, start = window.tokens[left], window.times[left]
        if window.numbers[left] == number:
            return [ShownPair(t, t.human.box, t.object.box, True) for t in before.values()]
        after, end = window.tokens[left + 1], window.times[left + 1]
        part = (time - start) / (end - start)
        return [
            ShownPair(
                token if part <= 0.5 else after[track],
                _between(token.human.box, after[track].human.box, part),
                _between(token.object.box, after[track].object.box, part),
                False,
            )
            for track, token in before.items()
            if track in after
        ]


def matching_frame(index: int, time_s: float, times_s: Sequence[float], near_s: float) -> int:
    """Return the number of the frame of a video that is a sampled frame.

    Args:
        index: frame index of the sampled frame.
        time_s: its time in seconds.
        times_s: times of all frames of the video in seconds, increasing.
        near_s: largest difference in seconds between times of the same frame.
    """
    if 0 <= index < len(times_s) and abs(times_s[index] - time_s) <= near_s:
        return index
    right = min(bisect_left(times_s, time_s), len(times_s) - 1)
    return min((max(right - 1, 0), right), key=lambda i: abs(times_s[i] - time_s))


def _between(first: Rect, second: Rect, part: float) -> Rect:
    x1, y1, x2, y2 = (a + (b - a) * part for a, b in zip(first, second, strict=True))
    return x1, y1, x2, y2
