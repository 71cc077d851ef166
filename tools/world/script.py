"""Everything drawn for one video: enough to render any of its frames again."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tools.world.cast import Actor
from tools.world.sprites import Colour, Look

#: Seconds that a change of state takes at average tempo, half before and half after its moment.
CHANGE_S = 0.7


@dataclass(frozen=True)
class Settings:
    """What a world is drawn from.

    Attributes:
        seed: a number from 0.
        shift: how much appearance depends on scene and actor: 0 not at all, 1 as designed, up to 2
            (the test split's colours and cameras drift away too).
        relation_noise: share of annotated relations that are replaced by a wrong one.
        min_s, max_s: shortest and longest video, seconds.
        long_side: pixels of the longer side; the other is 9/16 of it.
        actors: how many of the cast act, over both splits.
        classes: ids of the action classes; empty means all.
    """

    seed: int = 0
    shift: float = 1.0
    relation_noise: float = 0.0
    min_s: float = 4.0
    max_s: float = 12.0
    long_side: int = 480
    actors: int = 40
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Thread:
    """One object of the plot: `states[i]` lasts from `changes[i - 1]` to `changes[i]` (seconds).

    Attributes:
        place: where its centre rests: metres right of the room's middle, metres above the floor.
        hand: the hand that takes it, 0 the one at the left of the picture.
        unit: row of the script's units it belongs to.
        flip: mirrored.
    """

    object: str
    look: Look
    states: tuple[str, ...]
    changes: tuple[float, ...]
    place: tuple[float, float]
    hand: int
    unit: int
    flip: bool

    def state_at(self, time_s: float) -> str:
        """Name of the state that holds at a time."""
        return self.states[sum(time_s >= change for change in self.changes)]

    def spans(self, length_s: float) -> list[tuple[str, float, float]]:
        """(state, start_s, end_s) in order."""
        edges = [0.0, *self.changes, length_s]
        return [(state, edges[i], edges[i + 1]) for i, state in enumerate(self.states)]


@dataclass(frozen=True)
class Unit:
    """A stretch of the video in which one story happens.

    Attributes:
        backwards: told in reverse.
        station: metres right of the middle where the person is.
        side: where the objects are from there, -1 left or 1 right.
    """

    story: str
    backwards: bool
    is_posture: bool
    start_s: float
    end_s: float
    station: float
    side: int


@dataclass(frozen=True)
class Prop:
    """An object that takes part in nothing."""

    object: str
    look: Look
    place: tuple[float, float]
    flip: bool


@dataclass(frozen=True)
class Room:
    """Colours and camera of one video.

    Attributes:
        wall, floor: colours; their patterns as in configs/world/scenes.yaml.
        light: gain of red, green and blue; `light_from` -1 left or 1 right.
        pixels_per_m: of the camera.
        floor_line: metres above the feet where the wall begins.
        pan: metres right of the room's middle that the camera looks at.
        shake: pixels that the camera moves.
        noise: standard deviation of the grain, grey levels.
    """

    wall: Colour
    wall_pattern: str
    floor: Colour
    floor_pattern: str
    light: tuple[float, float, float]
    light_from: int
    pixels_per_m: float
    floor_line: float
    pan: float
    shake: float
    noise: float
    decor: tuple[str, ...]
    decor_look: Look


@dataclass(frozen=True)
class Film:
    """How a video is encoded.

    Attributes:
        rate: frames per second as (numerator, denominator).
        timing: `constant`, `dropped` (frames are missing) or `halved` (half the rate in the end).
        hidden: frames before the start, hidden by an edit list.
        b_frames: at most so many in a row.
        crf: x264's constant rate factor.
    """

    rate: tuple[int, int]
    timing: str
    hidden: int
    b_frames: int
    crf: int


@dataclass(frozen=True)
class Script:
    """A video; `size` is (width, height) in pixels, `key` seeds whatever is still drawn."""

    video_id: str
    split: str
    index: int
    key: tuple[int, ...]
    scene: str
    actor: Actor
    length_s: float
    size: tuple[int, int]
    room: Room
    film: Film
    units: tuple[Unit, ...]
    threads: tuple[Thread, ...]
    props: tuple[Prop, ...]

    @property
    def change_s(self) -> float:
        """Seconds that this actor takes for a change of state."""
        return CHANGE_S / self.actor.tempo

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> "Script":
        """Inverse of `to_dict`; TypeError or KeyError if a field is missing."""
        made: Script = read_tree(Script, tree)
        return made


def read_tree(kind: Any, tree: Any) -> Any:
    """Build a dataclass, a tuple or a plain value from what JSON made of it."""
    if is_dataclass(kind) and isinstance(kind, type):
        hints = get_type_hints(kind)
        return kind(**{f.name: read_tree(hints[f.name], tree[f.name]) for f in fields(kind)})
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(read_tree(inner[0], item) for item in tree)
        return tuple(read_tree(k, item) for k, item in zip(inner, tree, strict=True))
    if get_origin(kind) is UnionType:
        return tree
    return kind(tree)
