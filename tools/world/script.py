"""What happens in one video, drawn from its seed."""

from dataclasses import dataclass

import numpy as np

from tools.world.rules import ActionRule, ObjectRule, Rules

#: Seconds that a change of state takes, half before and half after its moment.
CHANGE_S = 0.5
SEAT = "chair"
_MIN_STATE_S = 0.9
_SCENES = ("Kitchen", "Living room", "Bedroom", "Dining room", "Hallway", "Basement")


@dataclass(frozen=True)
class Thread:
    """One object's states over time: `states[i]` lasts from `changes[i - 1]` to `changes[i]`."""

    rule: ObjectRule
    states: tuple[str, ...]
    changes: tuple[float, ...]
    place: tuple[float, float]
    colour: tuple[int, int, int]
    scale: float
    hand: int

    def state_at(self, time_s: float) -> str:
        """The state that holds at a time."""
        return self.states[sum(time_s >= change for change in self.changes)]

    def blend_at(self, time_s: float) -> tuple[str, str, float]:
        """State before, state after, and how far the change is (0 to 1)."""
        for i, change in enumerate(self.changes):
            if abs(time_s - change) < CHANGE_S / 2:
                return self.states[i], self.states[i + 1], (time_s - change) / CHANGE_S + 0.5
        state = self.state_at(time_s)
        return state, state, 0.0


@dataclass(frozen=True)
class Look:
    """How a scene and its actor look: colours, where the actor stands, how tall, which way."""

    wall: tuple[int, int, int]
    floor: tuple[int, int, int]
    table: tuple[int, int, int]
    skin: tuple[int, int, int]
    shirt: tuple[int, int, int]
    trousers: tuple[int, int, int]
    stand_x: float
    height: float
    side: int
    light: float


@dataclass(frozen=True)
class Script:
    """A video: everything that is needed to draw any of its frames again."""

    video_id: str
    split: str
    scene: str
    subject: str
    length_s: float
    fps: int
    size: tuple[int, int]
    seed: tuple[int, ...]
    look: Look
    threads: tuple[Thread, ...]

    @property
    def num_frames(self) -> int:
        """Frames of the video."""
        return round(self.length_s * self.fps)

    def actions(self, rules: Rules) -> list[tuple[int, float, float]]:
        """(class index, start_s, end_s) of everything that happens."""
        found = []
        for index, action in enumerate(rules.actions):
            for thread in self.threads:
                if thread.rule.name == action.object:
                    found += [(index, *span) for span in _spans(thread, action, self.length_s)]
        return found


def write_script(rules: Rules, seed: int, split: str, index: int) -> Script:
    """Draw a video; the same arguments give the same video.

    Test videos have actors that no training video has.
    """
    salt = {"train": 0, "test": 1}[split]
    rng = np.random.default_rng([seed, salt, index])
    subject = int(rng.integers(0, 24)) + (100 if split == "test" else 0)
    person = np.random.default_rng([seed, 2, subject])
    length_s = float(rng.integers(8, 13)) / 2
    look = Look(
        wall=_colour(rng, 120, 250),
        floor=_colour(rng, 60, 180),
        table=_colour(rng, 40, 160),
        skin=_colour(person, 110, 230),
        shirt=_colour(person, 0, 255),
        trousers=_colour(person, 0, 200),
        stand_x=float(rng.uniform(0.44, 0.56)),
        height=float(person.uniform(0.66, 0.78)),
        side=int(rng.choice([-1, 1])),
        light=float(rng.uniform(0.8, 1.1)),
    )
    threads = tuple(
        _thread(rule, rng, length_s, look, slot=slot)
        for slot, rule in enumerate(_choose_objects(rules, rng))
    )
    return Script(
        video_id=f"{'AZ'[salt]}{seed % 1000:03d}{index:04d}",
        split=split,
        scene=_SCENES[int(rng.integers(len(_SCENES)))],
        subject=f"S{subject:03d}",
        length_s=length_s,
        fps=int(rng.choice([24, 25, 30])),
        size=(256, 192) if rng.random() < 0.8 else (192, 256),
        seed=(seed, salt, index),
        look=look,
        threads=threads,
    )


def _choose_objects(rules: Rules, rng: np.random.Generator) -> list[ObjectRule]:
    """One or two things to carry, one per hand, and in every other video a seat."""
    things = [rule for rule in rules.objects if rule.name != SEAT]
    seats = [rule for rule in rules.objects if rule.name == SEAT]
    chosen = rng.permutation(len(things))[: int(rng.integers(1, 3))]
    return [things[i] for i in chosen] + (seats if rng.random() < 0.5 else [])


def _thread(
    rule: ObjectRule, rng: np.random.Generator, length_s: float, look: Look, *, slot: int
) -> Thread:
    story = rule.stories[int(rng.integers(len(rule.stories)))]
    slack = length_s - _MIN_STATE_S * len(story)
    shares = rng.dirichlet(np.full(len(story), 2.0)) * slack + _MIN_STATE_S
    far = 0.30 + 0.13 * slot + float(rng.uniform(0, 0.05))
    return Thread(
        rule=rule,
        states=story,
        changes=tuple(float(t) for t in np.cumsum(shares)[:-1]),
        place=(look.stand_x + look.side * far * (-1 if slot % 2 else 1), 0.60),
        colour=_colour(rng, 0, 255),
        scale=float(rng.uniform(0.85, 1.2)),
        hand=slot % 2,
    )


def _spans(thread: Thread, action: ActionRule, length_s: float) -> list[tuple[float, float]]:
    edges = [0.0, *thread.changes, length_s]
    if action.during is not None:
        return [
            (edges[i], edges[i + 1])
            for i, state in enumerate(thread.states)
            if state == action.during
        ]
    return [
        (max(change - CHANGE_S, 0.0), min(change + CHANGE_S, length_s))
        for i, change in enumerate(thread.changes)
        if thread.states[i : i + 2] == (action.source, action.target)
    ]


def _colour(rng: np.random.Generator, low: int, high: int) -> tuple[int, int, int]:
    r, g, b = (int(v) for v in rng.integers(low, high, 3))
    return r, g, b
