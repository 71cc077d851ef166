"""Actors of the synthetic world. The actors are the same for every seed."""

from dataclasses import dataclass
from functools import cache

import numpy as np

from tools.world.sprites import Colour

#: Numbers of actors in the training split and in the test split. No actor is in both splits.
NUM_TRAIN, NUM_TEST = 28, 12
_CAST_SEED = 20_240
_SKIN = (
    (250, 214, 184),
    (236, 190, 152),
    (209, 155, 112),
    (168, 113, 74),
    (122, 80, 52),
    (86, 56, 40),
)
_HAIR = ((28, 22, 20), (70, 44, 26), (120, 78, 40), (190, 150, 84), (150, 60, 36), (160, 160, 165))


@dataclass(frozen=True)
class Actor:
    """Appearance and movements of one person.

    Attributes:
        id: four letters or digits, like the subject ids of Charades.
        height: height in metres.
        build: width of the body relative to the average.
        hair_style: `short`, `long`, `bald` or `bun`.
        sleeves: share of the arm that the shirt covers.
        legs: share of the leg that the trousers cover.
        tempo: speed of movements relative to the average.
        sway: amplitude of the body's sway in metres.
        sway_hz: frequency of the sway in hertz.
        slouch: forward lean of the back in degrees.
        hand: preferred hand, 0 or 1.
    """

    id: str
    height: float
    build: float
    skin: Colour
    hair: Colour
    hair_style: str
    shirt: Colour
    trousers: Colour
    shoes: Colour
    stripes: bool
    sleeves: float
    legs: float
    tempo: float
    sway: float
    sway_hz: float
    slouch: float
    hand: int


@cache
def actor(index: int) -> Actor:
    """Return the actor with an index. The first `NUM_TRAIN` actors belong to the training split."""
    rng = np.random.default_rng([_CAST_SEED, index])

    def pick(colours: tuple[Colour, ...]) -> Colour:
        r, g, b = np.array(colours[int(rng.integers(len(colours)))]) + rng.integers(-10, 11, 3)
        return tuple(int(min(max(v, 0), 255)) for v in (r, g, b))  # type: ignore[return-value]

    def cloth(low: int, high: int) -> Colour:
        r, g, b = (int(v) for v in rng.integers(low, high, 3))
        return r, g, b

    return Actor(
        id=f"S{index:03d}",
        height=float(rng.uniform(1.52, 1.9)),
        build=float(rng.uniform(0.86, 1.2)),
        skin=pick(_SKIN),
        hair=pick(_HAIR),
        hair_style=str(rng.choice(["short", "short", "long", "bun", "bald"])),
        shirt=cloth(20, 245),
        trousers=cloth(15, 160),
        shoes=cloth(10, 220),
        stripes=bool(rng.random() < 0.3),
        sleeves=float(rng.choice([0.3, 0.45, 0.95, 0.95])),
        legs=float(rng.choice([0.5, 0.95, 0.95, 0.95])),
        tempo=float(rng.uniform(0.82, 1.2)),
        sway=float(rng.uniform(0.003, 0.014)),
        sway_hz=float(rng.uniform(0.2, 0.5)),
        slouch=float(rng.uniform(-2, 9)),
        hand=int(rng.random() < 0.2),
    )
