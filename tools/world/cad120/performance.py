"""Movements of the hands and the objects of a video, frame by frame."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from tools.world.cad120.rules import MICROWAVE, WITHDRAW
from tools.world.cad120.table import (
    BACK,
    FLOOR,
    OPEN_HANDLE,
    SHUT_HANDLE,
    Item,
    side_of,
)
from tools.world.canvas import Point, to_point
from tools.world.motion import ease

#: Mouth of the seated person, hands at rest on the table and in the lap, and the point above the
#: edge of the table through which a hand moves to and from the lap; for the hand at the right.
_MOUTH, _ON_TABLE, _IN_LAP, _ABOVE = (0.0, 1.335), (0.32, 0.86), (0.13, 0.8), (0.3, 1.06)
#: Share of a movement into or out of the microwave at which the object is inside.
_ENTERED = 0.8
#: Share of the distance that the gaze moves in a tenth of a second.
_GAZE = 0.25


@dataclass(frozen=True)
class ItemState:
    """State of an object in one frame.

    Attributes:
        centre: position in metres.
        angle: clockwise rotation in degrees.
        openness: 0 (shut) to 1 (open), for the drawing.
        holder: hand that holds the object, or None.
        at_mouth: whether the object is in contact with the head.
        inside: whether the object is in the microwave.
        is_open: whether the object is annotated as open.
    """

    centre: Point
    angle: float = 0.0
    openness: float = 0.0
    holder: int | None = None
    at_mouth: bool = False
    inside: bool = False
    is_open: bool = False


@dataclass(frozen=True)
class Snapshot:
    """State of a video in one frame.

    Attributes:
        hands: positions of both hands in metres.
        in_lap: whether each hand is below the table.
        gaze: point in metres at which the person looks.
        items: states of all objects.
    """

    hands: tuple[Point, Point]
    in_lap: tuple[bool, bool]
    gaze: Point
    items: tuple[ItemState, ...]


@dataclass(frozen=True)
class Event:
    """Change that defines an action.

    Attributes:
        frame: first frame after the change.
        action: name of the action.
        item: row of the object.
        hand: hand that acts.
    """

    frame: int
    action: str
    item: int
    hand: int


class Performer:
    """Person who acts on objects. Each method appends frames.

    Attributes:
        items: the objects.
        states: their states in the current frame.
        rate: frames per second at which the movements look natural.
        rng: source of all random numbers.
        frames: all frames so far.
        events: changes that define an action.
    """

    def __init__(
        self,
        items: tuple[Item, ...],
        states: list[ItemState],
        uses_lap: tuple[bool, bool],
        rate: int,
        rng: Generator,
    ) -> None:
        self.items, self.states, self.rate, self.rng = items, states, rate, rng
        self.frames: list[Snapshot] = []
        self.events: list[Event] = []
        self._uses_lap, self._in_lap = uses_lap, list(uses_lap)
        self._hands = [self._resting(hand) for hand in (0, 1)]
        self._gaze = self._aim = np.array([0.0, 1.0])
        self._gaze_step = 1 - (1 - _GAZE) ** (10 / rate)

    def wait(self, num: int) -> None:
        """Append frames without movement of the hands."""
        for _ in range(num):
            self._append()

    def carry(self, hand: int, num: int) -> None:
        """Move a hand with the object that it holds to a random point above the table."""
        self._glide(hand, self._lifted(hand), num)

    def approach(self, hand: int, item: int, num: int) -> None:
        """Move an empty hand towards an object and back, without contact."""
        first = num // 2
        centre = np.array(self.states[item].centre)
        self._go(hand, centre + self.items[item].grip(hand) + [0.07 * side_of(hand), 0.12], first)
        self._retreat(hand, num - first)

    def act(self, action: str, item: int, hand: int, num: int, place: np.ndarray | None) -> None:
        """Perform one step of an activity.

        Args:
            action: an action, or `withdraw`.
            item: row of the object.
            hand: hand that acts.
            num: number of frames to append.
            place: centre at which `place` puts the object; None inside the microwave.
        """
        first = round(num * float(self.rng.uniform(0.4, 0.62)))
        match action:
            case "open" | "close":
                self._turn(action, item, hand, num)
            case "pick":
                centre = np.array(self.states[item].centre)
                self._go(hand, centre + self.items[item].grip(hand), first)
                self._happens(action, item, hand, holder=hand)
                self._lift(item, hand, num - first)
            case "place":
                if place is not None:
                    self._glide(hand, place + self.items[item].grip(hand), first, angle=0.0)
                else:
                    self.wait(first)
                self._happens(action, item, hand, holder=None)
                self._retreat(hand, num - first)
            case "drink" | "eat":
                self._taste(action, item, hand, first, num)
            case "microwave_food" | "clean":
                self._put_inside(action, item, hand, first, num)
            case _:
                self._take_out(action, item, hand, num)

    def _lift(self, item: int, hand: int, num: int) -> None:
        if self.states[item].inside:
            self._glide(hand, self._hands[hand] + [0.0, 0.012], num)
        else:
            self.carry(hand, num)

    def _turn(self, action: str, item: int, hand: int, num: int) -> None:
        opens = action == "open"
        shut, opened = self._handles(item)
        start, end = (shut, opened) if opens else (opened, shut)
        first, swing = round(0.4 * num), max(round(0.3 * num), 4)
        self._go(hand, start, first)

        def turn(share: float, step: int) -> None:
            self._set(item, openness=share if opens else 1 - share)
            if step == swing // 2 + 1:
                self._happens(action, item, hand, is_open=opens)

        self._glide(hand, end, swing, also=turn)
        self._retreat(hand, max(num - first - swing, 1))

    def _handles(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the positions of the hand at the shut and at the open object."""
        thing, centre = self.items[item], np.array(self.states[item].centre)
        if thing.object == MICROWAVE:
            return centre + thing.point(SHUT_HANDLE), centre + thing.point(OPEN_HANDLE)
        return centre + thing.point((0.5, 0.14)), centre + thing.point((0.5, -0.2))

    def _taste(self, action: str, item: int, hand: int, first: int, num: int) -> None:
        thing, side = self.items[item], side_of(hand)
        turn = np.deg2rad(thing.tilt)
        below = 0.45 * thing.size[1] * np.array([side * np.sin(turn), -np.cos(turn)])
        goal = np.array(_MOUTH) + below + thing.grip(hand)
        self._glide(hand, goal, first, angle=-side * thing.tilt)
        self._happens(action, item, hand, at_mouth=True)
        stay = max(round(0.4 * (num - first)), 2)
        self.wait(stay)

        def leave(share: float, step: int) -> None:
            self._set(item, at_mouth=share < 0.25)

        self._glide(hand, self._lifted(hand), max(num - first - stay, 3), angle=0.0, also=leave)

    def _put_inside(self, action: str, item: int, hand: int, first: int, num: int) -> None:
        goal = inside_place(self.items, self.states, item) + self.items[item].grip(hand)

        def enter(share: float, step: int) -> None:
            if share >= _ENTERED and not self.states[item].inside:
                self._happens(action, item, hand, inside=True)

        self._glide(hand, goal, first, also=enter)
        if action != "clean":
            self.wait(num - first)
            return
        parts = np.diff(np.linspace(0, num - first, 4).round().astype(int))
        for offset, part in zip((0.07, -0.07, 0.0), parts, strict=True):
            self._glide(hand, goal + np.array([offset, 0.5 * abs(offset)]), int(part))

    def _take_out(self, action: str, item: int, hand: int, num: int) -> None:
        def leave(share: float, step: int) -> None:
            if share > 1 - _ENTERED and self.states[item].inside:
                if action == WITHDRAW:
                    self._set(item, inside=False)
                else:
                    self._happens(action, item, hand, inside=False)

        first = num // 4
        self.wait(first)
        self._glide(hand, self._lifted(hand), num - first, also=leave)

    def _go(self, hand: int, goal: np.ndarray, num: int) -> None:
        """Move a hand to a point; from the lap, it moves over the edge of the table."""
        if self._in_lap[hand]:
            first = num // 2
            self._glide(hand, self._above(hand), first)
            self._in_lap[hand] = False
            num -= first
        self._glide(hand, goal, num)

    def _retreat(self, hand: int, num: int) -> None:
        """Move a hand to its position at rest."""
        if self._uses_lap[hand] and num > 5:
            first = round(0.6 * num)
            self._glide(hand, self._above(hand), first)
            self._in_lap[hand] = True
            num -= first
        self._glide(hand, self._resting(hand), num)

    def _glide(
        self,
        hand: int,
        goal: np.ndarray,
        num: int,
        *,
        angle: float | None = None,
        also: Callable[[float, int], None] | None = None,
    ) -> None:
        """Append a movement of a hand; `also` is called with the share and number of each step."""
        start = self._hands[hand]
        held = next((row for row, state in enumerate(self.states) if state.holder == hand), None)
        before = 0.0 if held is None else self.states[held].angle
        self._aim = goal
        for step in range(1, num + 1):
            share = ease(step / num)
            self._hands[hand] = start + share * (goal - start)
            if held is not None:
                centre = self._hands[hand] - self.items[held].grip(hand)
                turned = before if angle is None else before + share * (angle - before)
                self._set(held, centre=to_point(centre), angle=turned)
            if also is not None:
                also(share, step)
            self._append()

    def _append(self) -> None:
        self._gaze = self._gaze + self._gaze_step * (self._aim - self._gaze)
        left, right = (to_point(hand) for hand in self._hands)
        in_lap = (self._in_lap[0], self._in_lap[1])
        self.frames.append(Snapshot((left, right), in_lap, to_point(self._gaze), (*self.states,)))

    def _set(self, item: int, **values: object) -> None:
        self.states[item] = replace(self.states[item], **values)  # type: ignore[arg-type]

    def _happens(self, action: str, item: int, hand: int, **values: object) -> None:
        """Change a state from the next frame on and record the action."""
        self._set(item, **values)
        self.events.append(Event(len(self.frames), action, item, hand))

    def _resting(self, hand: int) -> np.ndarray:
        x, y = _IN_LAP if self._in_lap[hand] else _ON_TABLE
        return np.array([x * side_of(hand), y])

    def _above(self, hand: int) -> np.ndarray:
        assert _ABOVE[1] > BACK
        return np.array([_ABOVE[0] * side_of(hand), _ABOVE[1]])

    def _lifted(self, hand: int) -> np.ndarray:
        x, y = self.rng.uniform([0.1, 1.0], [0.28, 1.1])
        return np.array([x * side_of(hand), y])


def inside_place(items: tuple[Item, ...], states: list[ItemState], item: int) -> np.ndarray:
    """Return the centre of an object that stands in the microwave."""
    row = next(row for row, other in enumerate(items) if other.object == MICROWAVE)
    floor = np.array(states[row].centre) + items[row].point(FLOOR)
    placed: np.ndarray = floor + np.array([0.0, items[item].size[1] / 2])
    return placed
