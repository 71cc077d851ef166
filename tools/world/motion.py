"""Position, gaze and posture of the person over time."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from tools.world.rules import Rules, State
from tools.world.script import Script, Thread, Unit

_WALK_M_PER_S = 1.15
_LEAST_TURN_S = 0.6
#: Scale and rise (in metres) of a person inside a doorway, who is farther from the camera.
_INSIDE_SCALE, _INSIDE_RISE = 0.86, 0.2


def ease(share: float) -> float:
    """Return the minimum-jerk curve from 0 to 1, which is symmetric in time."""
    s = min(max(share, 0.0), 1.0)
    return s * s * s * (s * (6 * s - 15) + 10)


@dataclass(frozen=True)
class Track:
    """Value that changes over time.

    Attributes:
        first: initial value.
        keys: (moment_s, duration_s, value) of every change. Each change is centred on its moment.
    """

    first: tuple[float, ...]
    keys: tuple[tuple[float, float, tuple[float, ...]], ...]

    def at(self, time_s: float) -> np.ndarray:
        """Return the value at a time."""
        value = np.array(self.first)
        for moment, takes, target in self.keys:
            share = ease((time_s - moment) / takes + 0.5)
            if share > 0:
                value = value + share * (np.array(target) - value)
        return value


def blend_at(thread: Thread, time_s: float, takes_s: float) -> tuple[str, str, float]:
    """Return the states before and after the current change, and its progress from 0 to 1.

    Both states are equal if no change takes place. `takes_s` is the duration of a change.
    """
    for i, change in enumerate(thread.changes):
        if abs(time_s - change) < takes_s / 2:
            return thread.states[i], thread.states[i + 1], (time_s - change) / takes_s + 0.5
    state = thread.state_at(time_s)
    return state, state, 0.0


def place_track(script: Script) -> Track:
    """Return the track of the position (x, depth) of the person.

    `x` is the distance to the right of the middle in metres. `depth` ranges from 0 (room) to 1
    (doorway).
    """
    units = [(n, unit) for n, unit in enumerate(script.units) if unit.story != "stand"]
    stops = [stop for n, unit in units for stop in _stops(script, n, unit)]
    keys = tuple(
        (moment, max(abs(x - here) / _WALK_M_PER_S, _LEAST_TURN_S), (x, depth))
        for (_, here, _), (moment, x, depth) in pairwise(stops)
    )
    return Track(stops[0][1:] if stops else (0.0, 0.0), keys)


def _stops(script: Script, number: int, unit: Unit) -> list[tuple[float, float, float]]:
    """Return (moment_s, x, depth) of each position at which the person stops in a unit."""
    if unit.story != "walk_through":
        return [(unit.start_s, unit.station, 0.0)]
    thread = next(t for t in script.threads if t.unit == number)
    aside = 0.8 * unit.side
    where = {"ahead": (-aside, 0.0), "inside": (0.0, 1.0), "past": (aside, 0.0)}
    edges = (unit.start_s, *thread.changes)
    return [(edges[i], *where[state]) for i, state in enumerate(thread.states)]


def depth_scale(depth: float) -> tuple[float, float]:
    """Return (scale, rise in metres) of a person at a depth from 0 to 1 in a doorway."""
    return 1 + depth * (_INSIDE_SCALE - 1), depth * _INSIDE_RISE


def gaze_track(rules: Rules, script: Script) -> Track:
    """Return the track of (body yaw, head yaw, head pitch, eyes).

    Both yaws range from -1 (left) to 1 (right). The pitch ranges from -1 (down) to 1 (up). The
    value for the eyes ranges from 0 (shut) to 1 (open).
    """
    keys: list[tuple[float, float, tuple[float, ...]]] = []
    first: tuple[float, ...] | None = None
    for number, unit in enumerate(script.units):
        if unit.story == "stand":
            continue
        threads = [t for t in script.threads if t.unit == number]
        moments = sorted({unit.start_s, *(c for t in threads for c in t.changes)})
        for moment in moments:
            value = _gaze(rules, script, unit, threads, moment + 1e-6)
            if first is None:
                first = value
            else:
                at_start = moment == unit.start_s
                keys.append((moment, _LEAST_TURN_S if at_start else script.change_s, value))
    return Track(first or (0.0, 0.0, 0.0, 1.0), tuple(keys))


def _gaze(
    rules: Rules, script: Script, unit: Unit, threads: list[Thread], time_s: float
) -> tuple[float, ...]:
    states = [(rules.states[t.state_at(time_s)], t) for t in threads]
    if unit.is_posture:
        turn = 1.0 if unit.story == "walk_through" else 0.5
        return (turn * unit.side, 0.8 * turn * unit.side, 0.0, 1.0)
    looked = [pair for pair in states if pair[0].is_looked_at]
    state, thread = (looked or states)[0]
    return _gaze_of(state, thread, unit.side, script.actor.height)


def _gaze_of(state: State, thread: Thread, side: int, height: float) -> tuple[float, ...]:
    body = 0.85 if "in_front_of" in state.says else -0.35
    if "behind" in state.says:
        body = -0.9
    if "looking_at" in state.says:
        rise = thread.place[1] - 0.9 * height if state.at in ("rest", "low") else -0.4
        if state.at == "raised":
            rise = 0.1
        return (max(body, 0.5) * side, 0.95 * side, min(max(1.6 * rise, -1.0), 1.0), 1.0)
    if "unsure" in state.says:
        return (body * side, 0.1 * side, 0.15, 0.0)
    return (body * side, -0.9 * side, 0.0, 1.0)


def pose_track(rules: Rules, script: Script) -> Track:
    """Return the track of (pelvis x, pelvis height, lean, feet x, feet height, spread).

    The lean is in degrees, and the spread is half the distance between the feet. Lengths are in
    metres for a person of 1.75 m. Positions are relative to the place of the person.
    """
    posture = [t for t in script.threads if script.units[t.unit].is_posture]
    thread = next((t for t in posture if rules.states[t.states[0]].pose), None)
    if thread is None:
        return Track(_pose("stand", 0.0, 0.0, 1, script.actor.slouch), ())
    seat = rules.objects[thread.object].seat + (0.05 if thread.object != "floor" else 0.0)
    side = script.units[thread.unit].side
    poses = [
        _pose(rules.states[s].pose or "stand", seat, thread.place[0], side, script.actor.slouch)
        for s in thread.states
    ]
    takes = 1.15 / script.actor.tempo
    keys = zip(thread.changes, [takes] * len(thread.changes), poses[1:], strict=True)
    return Track(poses[0], tuple(keys))


def _pose(pose: str, seat: float, centre: float, side: int, slouch: float) -> tuple[float, ...]:
    low = seat < 0.2
    match pose:
        case "sit":
            feet = (0.7 if low else 0.4) * side
            return (0.0, seat + 0.1, (4 + slouch / 2) * side, feet, 0.04, 0.07)
        case "lie":
            feet = centre + 0.92 * side
            return (centre + 0.1 * side, seat + 0.12, -84.0 * side, feet, seat + 0.1, 0.05)
        case "stand_on":
            return (0.0, 0.86 + seat, 0.0, 0.0, seat, 0.09)
        case _:
            return (0.0, 0.86, slouch / 3 * side, 0.0, 0.0, 0.1)
