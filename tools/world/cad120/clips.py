"""Clips of a video, each with one action or none."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from tools.world.cad120.knowledge import NULL
from tools.world.cad120.script import Script, Span

_LEAST_FRAMES, _MOST_FRAMES = 11, 60
#: Probability that the change of a clip lies in its first or last frames, and least length of such
#: a clip, for which one frame is 5 %.
_EDGE, _EDGE_FRAMES = 0.05, 20
#: Probability that a clip overlaps the clip before it, and largest overlap in frames.
_OVERLAP, _MOST_OVERLAP = 0.13, 6


@dataclass(frozen=True)
class Clip:
    """Range of frames with one action.

    Attributes:
        first, last: first and last frame, from 0, inclusive.
        action: name of the action, `null` without an action.
    """

    first: int
    last: int
    action: str


@dataclass(frozen=True)
class _Room:
    """Clip and the limits within which its frames show the same changes."""

    clip: Clip
    low: int
    high: int
    change: int | None


def find_clips(script: Script) -> list[Clip]:
    """Return the clips of a script in order.

    A clip with an action contains exactly one change that defines an action. A clip without an
    action contains none. Every video has at least one clip.
    """
    rng = np.random.default_rng([*script.key, 1])
    found: list[Clip] = []
    shown = [span for span in script.spans if span.is_shown] or script.spans[:1]
    for span in shown:
        room = _at_edge(_cut(script, span, rng), rng)
        clip = room.clip
        if found and rng.random() < _OVERLAP:
            first = max(found[-1].last - int(rng.integers(_MOST_OVERLAP)), room.low)
            if clip.last - first < _MOST_FRAMES and first <= clip.first:
                clip = replace(clip, first=first)
        found.append(clip)
    return found


def _cut(script: Script, span: Span, rng: Generator) -> _Room:
    """Return the clip of a step, a few frames shorter than the step, and its limits."""
    changes = [event.frame for event in script.events]
    change = next((c for c in changes if span.action and span.start <= c < span.end), None)
    middle = (span.start + span.end) // 2 if change is None else change
    low = max((c for c in changes if c < middle or (change is None and c == middle)), default=0)
    high = min((c for c in changes if c > middle), default=len(script.frames)) - 1
    first, last = span.start + int(rng.integers(3)), span.end - 1 - int(rng.integers(3))
    if change is not None:
        first, last = min(first, change - 1), max(last, change)
    return _Room(Clip(first, last, span.action or NULL), low, high, change)


def _at_edge(room: _Room, rng: Generator) -> _Room:
    """Move the clip, with a small probability, so that its change lies in its first or last 5 %."""
    clip, change = room.clip, room.change
    if change is None or rng.random() >= _EDGE:
        return room
    num = max(clip.last - clip.first + 1, _EDGE_FRAMES)
    early = replace(clip, first=change - 1, last=change + num - 2)
    late = replace(clip, first=change - num + 1, last=change)
    for moved in (early, late) if rng.random() < 0.5 else (late, early):
        if moved.first >= room.low and moved.last <= room.high:
            return replace(room, clip=moved)
    return room
