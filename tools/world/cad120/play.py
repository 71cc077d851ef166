"""Performance of an activity, with pauses and movements without an action."""

import numpy as np

from tools.world.cad120.performance import Performer
from tools.world.cad120.rules import MICROWAVE, WITHDRAW, Activity, Rules, Step
from tools.world.cad120.script import Span
from tools.world.cad120.table import is_reachable, item_centre, reachable_places

#: Probabilities of a movement without an action before, between and after the steps; of a pause.
_NULL_BEFORE, _NULL_BETWEEN, _NULL_AFTER, _PAUSE = 0.5, 0.13, 0.6, 0.6
#: Lengths of a step in seconds and in frames.
_LEAST_S, _MOST_S, _LEAST_FRAMES, _MOST_FRAMES = 0.9, 2.1, 15, 60


class Play:
    """Performance of an activity.

    Args:
        rules: contents of configs/world/cad120.yaml.
        performer: person who acts, before the first frame.
        activity: the activity.
        rows: row of the object of each role.
        hand: hand that performs all steps, or None for any hand.
    """

    def __init__(
        self,
        rules: Rules,
        performer: Performer,
        activity: Activity,
        rows: dict[str, int],
        hand: int | None,
    ) -> None:
        self.rules, self.performer, self.rng = rules, performer, performer.rng
        self.activity, self.rows, self.hand = activity, rows, hand
        self.spans: list[Span] = []

    def play(self) -> list[Span]:
        """Perform all steps and return their frames."""
        rng, performer = self.rng, self.performer
        performer.wait(int(rng.integers(3, 9)))
        self._idle(_NULL_BEFORE)
        for number, step in enumerate(self.activity.steps):
            if number and rng.random() < _PAUSE:
                performer.wait(int(rng.integers(1, 7)))
            if number:
                self._idle(_NULL_BETWEEN)
            self._step(step)
        self._idle(_NULL_AFTER)
        performer.wait(int(rng.integers(3, 9)))
        return self.spans

    def _step(self, step: Step) -> None:
        row = self.rows[step.role]
        if self.rng.random() >= step.chance or not self._is_possible(step, row):
            return
        state = self.performer.states[row]
        hand = state.holder if state.holder is not None else self._hand_for(row)
        if hand is None:
            return
        place = None
        if step.action == "place" and not state.inside:
            place = self._place_for(row, hand)
        start = len(self.performer.frames)
        self.performer.act(step.action, row, hand, self._length(), place)
        action = None if step.action == WITHDRAW else step.action
        is_shown = action is not None and bool(self.rng.random() < step.shown)
        self.spans.append(Span(action, start, len(self.performer.frames), is_shown))

    def _is_possible(self, step: Step, row: int) -> bool:
        state = self.performer.states[row]
        match step.action:
            case "open" | "close":
                return state.is_open == (step.action == "close")
            case "pick":
                return state.holder is None
            case _:
                return state.holder is not None

    def _idle(self, chance: float) -> None:
        """Perform a movement without an action."""
        rng, performer = self.rng, self.performer
        if rng.random() >= chance:
            return
        start, num = len(performer.frames), self._length()
        held = [s.holder for s in performer.states if s.holder is not None and not s.inside]
        free = self._reaching_hands()
        kind = rng.random()
        if held and kind < 0.75:
            performer.carry(held[0], num)
        elif free and kind < 0.9:
            hand, row = free[int(rng.integers(len(free)))]
            performer.approach(hand, row, num)
        else:
            performer.wait(num)
        self.spans.append(Span(None, start, len(performer.frames), True))

    def _reaching_hands(self) -> list[tuple[int, int]]:
        """Return all (hand, row of an object) such that the hand is free and near the object."""
        states, items = self.performer.states, self.performer.items
        return [
            (hand, row)
            for hand in (0, 1)
            for row, state in enumerate(states)
            if all(s.holder != hand for s in states)
            and state.holder is None
            and not state.inside
            and items[row].object != MICROWAVE
            and is_reachable(hand, np.array(state.centre) + items[row].grip(hand))
        ]

    def _hand_for(self, row: int) -> int | None:
        """Return a free hand that reaches an object, usually the nearer one, or None."""
        if self.hand is not None:
            return self.hand
        near = [hand for hand, other in self._reaching_hands() if other == row]
        if len(near) < 2:
            return near[0] if near else None
        own = int(self.performer.states[row].centre[0] > 0)
        return own if self.rng.random() < 0.8 else 1 - own

    def _place_for(self, row: int, hand: int) -> np.ndarray:
        performer = self.performer
        states, items = performer.states, performer.items
        microwave = next(
            (states[r].centre for r, i in enumerate(items) if i.object == MICROWAVE), None
        )
        taken = [
            (state.centre[0], state.centre[1] - items[r].size[1] / 2)
            for r, state in enumerate(states)
            if r != row and not state.inside and items[r].object != MICROWAVE
        ]
        places = reachable_places(self.rules, items[row], (hand,), taken, microwave)
        return item_centre(items[row], places[int(self.rng.integers(len(places)))])

    def _length(self) -> int:
        num = round(float(self.rng.uniform(_LEAST_S, _MOST_S)) * self.performer.rate)
        return min(max(num, _LEAST_FRAMES), _MOST_FRAMES)
