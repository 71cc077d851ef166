"""Times at which the reasons of actions are shown."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.explanation.predictions import Prediction

#: Shortest time in seconds that a moment is shown, and for which its sentence can be read.
SHORTEST_S, READING_S = 1.0, 4.0


@dataclass(frozen=True)
class Moment:
    """Moment of the reason of an action.

    Attributes:
        row: row of the action in `predictions`.
        start_s: first time in seconds at which it is shown.
        end_s: last time in seconds. Reasons of a single frame are shown for `SHORTEST_S`.
        sentence: the reason in words.
    """

    row: int
    start_s: float
    end_s: float
    sentence: str


def moment_of(row: int, prediction: Prediction, end_s: float) -> Moment | None:
    """Return the moment of an action, or None if its reason has no time.

    Args:
        row: row of the action in `predictions`.
        prediction: the action.
        end_s: end of the video in seconds.
    """
    if prediction.reason.between_s is None:
        return None
    start, end = sorted(prediction.reason.between_s)
    more = max(SHORTEST_S - (end - start), 0.0)
    start = min(max(start - more / 2, 0.0), max(end_s - SHORTEST_S, 0.0), start)
    return Moment(row, start, max(end, start + SHORTEST_S), prediction.sentence)


def moments_of(predictions: Sequence[Prediction], end_s: float) -> list[Moment]:
    """Return the moments of the present actions, in descending order of their scores."""
    found = (moment_of(i, row, end_s) for i, row in enumerate(predictions) if row.is_present)
    return [moment for moment in found if moment is not None]


def moment_at(moments: Sequence[Moment], time_s: float) -> tuple[Moment | None, bool]:
    """Return the moment that is shown at a time, and whether the time is within it.

    Of several moments, the one of the action with the highest score is shown. The last moment
    remains until its sentence can be read.

    Args:
        moments: the moments in descending order of scores.
        time_s: time in seconds.
    """
    for moment in moments:
        if moment.start_s <= time_s <= moment.end_s:
            return moment, True
    past = [m for m in moments if m.end_s < time_s <= m.start_s + READING_S]
    return max(past, key=lambda m: m.end_s, default=None), False
