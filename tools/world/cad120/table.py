"""Table, places on it, and objects of one video."""

from dataclasses import dataclass

import numpy as np

from tools.world.cad120.rules import MICROWAVE, Rules
from tools.world.canvas import Point
from tools.world.sprites import Look

#: Heights of the back edge and of the front edge of the table top in metres. The person sits behind
#: the table, and the camera looks at it from the front and from above.
BACK, FRONT = 0.98, 0.6
#: Heights of the bottoms of objects in the two rows of places.
ROWS = (0.84, 0.72)
COLUMNS = (-0.44, -0.22, 0.0, 0.22, 0.44)
MICROWAVE_X = 0.42
#: Points of the unit square of the microwave that is not mirrored: middle of the floor of its
#: inside, handle of the shut door, and handle of the open door.
FLOOR, SHUT_HANDLE, OPEN_HANDLE = (0.51, 0.82), (0.78, 0.5), (0.05, 0.5)
#: Height of the pelvis of the seated person, height of the shoulders, and reach of an arm.
PELVIS, _SHOULDERS, _REACH, _ASIDE = 0.72, 1.22, 0.565, 0.185
#: Least distance in metres of a hand from the centre of a held object, which it would hide.
_LEAST_GRIP = 0.078


@dataclass(frozen=True)
class Item:
    """Object of a video.

    Attributes:
        id: class name with the number of the object within its class.
        object: class name.
        look: appearance.
        flip: whether the object is mirrored.
        tilt: rotation at the mouth in degrees.
        size: width and height in metres.
    """

    id: str
    object: str
    look: Look
    flip: bool
    tilt: float
    size: tuple[float, float]

    def point(self, unit: Point) -> np.ndarray:
        """Return the offset in metres of a point of the unit square from the centre."""
        x = 1 - unit[0] if self.flip else unit[0]
        return np.array([(x - 0.5) * self.size[0], (0.5 - unit[1]) * self.size[1]])

    def grip(self, hand: int) -> np.ndarray:
        """Return the offset from the centre at which a hand holds the object."""
        aside = max(self.size[0] / 2 + 0.008, _LEAST_GRIP)
        return np.array([side_of(hand) * aside, -0.12 * self.size[1]])


def side_of(hand: int) -> int:
    """Return -1 for the hand at the left of the frame, 1 for the other hand."""
    return 1 if hand else -1


def is_reachable(hand: int, point: np.ndarray) -> bool:
    """Return whether a hand reaches a point (x, y) in metres."""
    shoulder = np.array([_ASIDE * side_of(hand), _SHOULDERS])
    return float(np.hypot(*(point - shoulder))) <= _REACH


def free_places(rules: Rules, taken: list[Point], microwave: Point | None) -> list[Point]:
    """Return the free places of the table as (x, height of the bottom) in metres.

    Args:
        rules: contents of configs/world/cad120.yaml.
        taken: places of objects on the table.
        microwave: centre of the microwave, or None.
    """
    wide = 0.5 * rules.shape(MICROWAVE).size[0] + 0.09
    places = [(x, y) for y in ROWS for x in COLUMNS]
    if microwave is not None:
        aside = microwave[0]
        places = [p for p in places if p[1] != ROWS[0] or abs(p[0] - aside) > wide]
    return [p for p in places if all(abs(p[0] - x) > 0.15 or abs(p[1] - y) > 0.1 for x, y in taken)]


def reachable_places(
    rules: Rules, item: Item, hands: tuple[int, ...], taken: list[Point], microwave: Point | None
) -> list[Point]:
    """Return the free places at which one of the hands reaches an object.

    If all of them are taken, the taken ones are returned.
    """
    for others in (taken, []):
        places = [
            place
            for place in free_places(rules, others, microwave)
            if any(is_reachable(h, item_centre(item, place) + item.grip(h)) for h in hands)
        ]
        if places:
            break
    return places


def item_centre(item: Item, place: Point) -> np.ndarray:
    """Return the centre of an object that stands at a place."""
    return np.array([place[0], place[1] + item.size[1] / 2])
