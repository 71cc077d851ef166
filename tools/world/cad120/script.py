"""Description of one video, from which every frame can be rendered."""

from dataclasses import dataclass

from tools.world.cad120.performance import Event, Snapshot
from tools.world.cad120.table import Item
from tools.world.cast import Actor
from tools.world.script import Room
from tools.world.sprites import Colour


@dataclass(frozen=True)
class World:
    """Settings of a world in the form of CAD-120.

    Attributes:
        seed: random seed, at least 0.
        videos: number of videos per subject.
        long_side: width of the frames in pixels. The height is 3/4 of the width.
    """

    seed: int = 0
    videos: int = 25
    long_side: int = 320

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the frames in pixels."""
        return self.long_side, self.long_side * 3 // 4


@dataclass(frozen=True)
class Span:
    """Frames of one step.

    Attributes:
        action: name of the action, or None without an action.
        start, end: first frame, and first frame after the step.
        is_shown: whether the step has a clip.
    """

    action: str | None
    start: int
    end: int
    is_shown: bool


@dataclass(frozen=True)
class Script:
    """Complete description of a video.

    Attributes:
        subject: name of the subject.
        activity: name of the activity.
        video_id: ten digits.
        key: seed of further random numbers.
        rate: frames per second at which the movements look natural.
        actor: the person.
        size: (width, height) in pixels.
        room: colours and camera.
        table: colour of the table.
        items: the objects.
        frames: state of each frame.
        spans: steps in order.
        events: changes that define an action, in order.
    """

    subject: str
    activity: str
    video_id: str
    key: tuple[int, ...]
    rate: int
    actor: Actor
    size: tuple[int, int]
    room: Room
    table: Colour
    items: tuple[Item, ...]
    frames: tuple[Snapshot, ...]
    spans: tuple[Span, ...]
    events: tuple[Event, ...]
