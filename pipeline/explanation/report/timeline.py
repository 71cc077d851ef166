"""Layout of the timeline of the tokens of a window.

Each track has one lane per predicate group. A segment is a run of tokens with the same predicate.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from pipeline.explanation.explanation import Explanation
from pipeline.explanation.observations import Token
from pipeline.explanation.wording import words

#: Most tokens that a timeline shows.
MAX_TOKENS = 400
#: Sizes in pixels: labels of lanes, lane, space between tracks, axis, width of a letter.
LABELS, LANE, SPACE, AXIS, LETTER = 136, 34, 16, 30, 7.0
MIN_WIDTH, MAX_WIDTH, PER_FRAME = 1110, 4000, 28
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)


@dataclass(frozen=True)
class Segment:
    """Run of tokens of a lane with the same predicate."""

    x: float
    y: float
    width: float
    label: str
    is_kept: bool


@dataclass(frozen=True)
class TokenMarks:
    """Token with a mark in each lane of its track."""

    token: Token
    x: float
    y: float
    height: float
    marks: tuple[float, ...]


@dataclass(frozen=True)
class TrackLanes:
    """Lanes of a track."""

    name: str
    y: float
    height: float
    groups: tuple[str, ...]
    segments: tuple[Segment, ...]
    tokens: tuple[TokenMarks, ...]


@dataclass(frozen=True)
class Timeline:
    """Timeline of a window.

    Attributes:
        window: number of the window.
        start: time of its first frame in seconds.
        end: time of its last frame in seconds.
        width: width in pixels.
        height: height in pixels.
        ticks: position and time of the marks of the time axis.
        tracks: lanes of each track.
        total: number of tokens of the window.
    """

    window: int
    start: float
    end: float
    width: float
    height: float
    ticks: tuple[tuple[float, float], ...]
    tracks: tuple[TrackLanes, ...]
    total: int

    @property
    def tokens(self) -> list[Token]:
        """The tokens that are shown, by track and in order of time."""
        return [marks.token for track in self.tracks for marks in track.tokens]


def timelines(
    explanation: Explanation, windows: Collection[int], important: Collection[int]
) -> list[Timeline]:
    """Lay out one timeline for each of some windows.

    Args:
        explanation: the explanation.
        windows: numbers of the windows.
        important: tokens that are shown first, if a window has more than `MAX_TOKENS` tokens.
    """
    window_of = {frame.t: frame.window for frame in explanation.sampling.frames}
    found: dict[int, list[Token]] = {window: [] for window in sorted(windows)}
    for token in explanation.tokens:
        found.get(window_of.get(token.t, 0), []).append(token)
    made = []
    for window, tokens in found.items():
        order = sorted(tokens, key=lambda token: (token.id not in important, not token.keep))
        shown = sorted(order[:MAX_TOKENS], key=lambda token: (token.time_s, token.id))
        frames = [f.time_s for f in explanation.sampling.frames if f.window == window]
        times = sorted({*frames, *(token.time_s for token in shown)}) or [0.0]
        made.append(_timeline(window, shown, times, len(tokens)))
    return made


def _timeline(window: int, tokens: list[Token], times: list[float], total: int) -> Timeline:
    width = min(max(MIN_WIDTH, LABELS + PER_FRAME * len(times)), MAX_WIDTH)
    start, span = times[0], max(times[-1] - times[0], 1e-6)
    left, right = LABELS + 20, width - 20

    def place(time: float) -> float:
        return round(left + (time - start) / span * (right - left), 1)

    tracks: dict[int, list[Token]] = {}
    for token in tokens:
        tracks.setdefault(token.track, []).append(token)
    y, lanes = 8.0, []
    for _, mine in sorted(tracks.items()):
        lanes.append(_lanes(mine, y, right, {t.id: place(t.time_s) for t in mine}))
        y += lanes[-1].height + SPACE
    ticks = tuple((place(time), time) for time in _ticks(start, times[-1]))
    return Timeline(window, start, times[-1], width, y + AXIS, ticks, tuple(lanes), total)


def _lanes(tokens: list[Token], y: float, right: float, places: dict[int, float]) -> TrackLanes:
    shown = {name.group for token in tokens for name in token.shown_names}
    groups = tuple(
        dict.fromkeys(n.group for token in tokens for n in token.names if n.group in shown)
    ) or ("",)
    marks = tuple(y + LANE * row + 24 for row in range(len(groups)))
    height = LANE * len(groups)
    return TrackLanes(
        name=shortened(tokens[0].title, LABELS - LETTER),
        y=y,
        height=height,
        groups=tuple(shortened(words(group), LABELS) for group in groups),
        segments=tuple(
            segment
            for group, mark in zip(groups, marks, strict=True)
            for segment in _segments(tokens, group, mark, right, places)
        ),
        tokens=tuple(TokenMarks(token, places[token.id], y, height, marks) for token in tokens),
    )


def _segments(
    tokens: list[Token], group: str, y: float, right: float, places: dict[int, float]
) -> Iterator[Segment]:
    """Return the segments of a lane. A label may reach the start of the next segment."""
    runs = [[*run] for _, run in groupby(tokens, lambda token: _predicate(token, group))]
    starts = [places[run[0].id] for run in runs]
    for run, start, end in zip(runs, starts, [*starts[1:], right + 12], strict=True):
        names = [name for token in run for name in token.named(group)]
        is_sure = all(name.status == "confident" for name in names)
        label = _predicate(run[0], group) + ("" if is_sure else " ?")
        width = places[run[-1].id] - start + 16
        is_kept = any(token.keep for token in run)
        label = shortened(label, end - start)
        yield Segment(round(start - 8, 1), y, round(width, 1), label, is_kept)


def _predicate(token: Token, group: str) -> str:
    found = [name.predicate for name in token.named(group)]
    return words(found[0] or "unknown") if found else ""


def shortened(text: str, width: float) -> str:
    """Return a text that fits into a width in pixels, possibly empty."""
    room = int(width / LETTER)
    if len(text) <= room:
        return text
    return text[: room - 1] + "…" if room >= 5 else ""


def _ticks(start: float, end: float) -> Sequence[float]:
    step = next((step for step in STEPS if (end - start) / step <= 12), STEPS[-1])
    first, last = int(-(-start // step)), int(end // step)
    return [round(number * step, 1) for number in range(first, min(last, first + 100) + 1)]
