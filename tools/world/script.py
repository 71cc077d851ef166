"""Description of one video, from which every frame can be rendered."""

from dataclasses import asdict, dataclass, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from tools.world.cast import Actor
from tools.world.sprites import Colour, Look

#: Duration of a change of state at average tempo in seconds, centred on its moment.
CHANGE_S = 0.7


@dataclass(frozen=True)
class Settings:
    """Settings of a world.

    Attributes:
        seed: random seed, at least 0.
        shift: strength of the distribution shift, 0 to 2. It controls how much the colours, the
            light and the camera depend on the scene, and how much the clothes depend on the actor.
            Above 1, the colours and cameras also differ between the training split and the test
            split.
        relation_noise: share of annotated relation groups that are replaced by a wrong predicate.
        min_s, max_s: lengths of the shortest and the longest video in seconds.
        long_side: longer side in pixels. The shorter side is 9/16 of the longer side.
        actors: number of actors in both splits together.
        classes: ids of the action classes; empty for all.
        duplicates: share of videos with two objects of one class, which two stories use.
    """

    seed: int = 0
    shift: float = 1.0
    relation_noise: float = 0.0
    min_s: float = 4.0
    max_s: float = 12.0
    long_side: int = 480
    actors: int = 40
    classes: tuple[str, ...] = ()
    duplicates: float = 0.0


@dataclass(frozen=True)
class Thread:
    """Object that takes part in a story, with its states over time.

    Attributes:
        object: class name.
        look: appearance of the object.
        states: names of the states in order.
        changes: times in seconds at which one state changes to the next, one fewer than `states`.
        place: resting position of the centre, as (metres to the right of the middle of the room,
            metres above the floor).
        hand: hand that holds the object, 0 for the hand at the left of the frame.
        unit: row in `Script.units`.
        flip: whether the object is mirrored.
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
        """Return the name of the state at a time."""
        return self.states[sum(time_s >= change for change in self.changes)]

    def spans(self, length_s: float) -> list[tuple[str, float, float]]:
        """Return (state, start_s, end_s) of all states in order."""
        edges = [0.0, *self.changes, length_s]
        return [(state, edges[i], edges[i + 1]) for i, state in enumerate(self.states)]


@dataclass(frozen=True)
class Unit:
    """Part of the video in which one story takes place.

    Attributes:
        story: name of the story.
        backwards: whether the steps run in reverse.
        is_posture: whether the person walks, sits or lies.
        start_s, end_s: seconds from the start of the video.
        station: position of the person, in metres to the right of the middle.
        side: direction of the objects from the person, -1 left or 1 right.
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
    """Object that takes part in no story."""

    object: str
    look: Look
    place: tuple[float, float]
    flip: bool


@dataclass(frozen=True)
class Room:
    """Colours and camera of one video.

    Attributes:
        wall, floor: colours.
        wall_pattern, floor_pattern: patterns of configs/world/scenes.yaml.
        light: gains of red, green and blue.
        light_from: direction of the light, -1 left or 1 right.
        pixels_per_m: scale of the camera.
        floor_line: height of the line between floor and wall, in metres above the feet.
        pan: aim of the camera, in metres to the right of the middle of the room.
        shake: amplitude of the shaking camera in pixels.
        noise: standard deviation of the grain in grey levels.
        decor: names of the decor on the wall.
        decor_look: appearance of the decor.
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
    """Encoding of a video.

    Attributes:
        rate: frames per second as (numerator, denominator).
        timing: `constant`, `dropped` (frames are missing) or `halved` (the second half of the video
            has half the rate).
        hidden: number of frames before the start that an edit list hides.
        b_frames: largest number of B-frames in a row.
        crf: x264's constant rate factor.
    """

    rate: tuple[int, int]
    timing: str
    hidden: int
    b_frames: int
    crf: int


@dataclass(frozen=True)
class Script:
    """Complete description of a video.

    Attributes:
        video_id: id of the video.
        split: `train` or `test`.
        index: number of the video within its split.
        key: seed of the random numbers for rendering and encoding.
        scene: name of the scene.
        actor: the person.
        length_s: length in seconds.
        size: (width, height) in pixels.
        room: colours and camera.
        film: encoding.
        units: stories in order.
        threads: objects that take part in a story.
        props: objects that take part in no story.
    """

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
        """Duration of one state change of this actor in seconds."""
        return CHANGE_S / self.actor.tempo

    def to_dict(self) -> dict[str, Any]:
        """Return the script as a JSON tree."""
        return asdict(self)

    @staticmethod
    def from_dict(tree: dict[str, Any]) -> "Script":
        """Build a script from the result of `to_dict`.

        Raises:
            KeyError: if a field is missing.
            TypeError: if a value has the wrong type.
        """
        made: Script = read_tree(Script, tree)
        return made


def read_tree(kind: Any, tree: Any) -> Any:
    """Build a dataclass, tuple or plain value of type `kind` from a JSON tree."""
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
