"""Positions of the person and the objects, in metres."""

from dataclasses import dataclass

from tools.world.rules import Rules

#: Heights of furniture at the more distant wall and of seats, in metres above the feet.
WALL_BASE, SEAT_BASE = 0.16, 0.05
TABLE_REACH = 0.14
_ARM_ROOM = 0.28
_BOARD = 0.62  # distance of the shelf board from the top, as a share of the height
_SEATS = ("chair", "sofa/couch", "bed")


@dataclass(frozen=True)
class Slot:
    """Place for an object.

    Attributes:
        x: distance to the right of the middle in metres.
        station: x of the person who reaches for the object.
        side: direction of the object from the station, -1 left or 1 right.
    """

    x: float
    station: float
    side: int


def slots_for(stage: str, upright: bool, side: int) -> list[Slot]:
    """Return places for objects that do not overlap.

    Args:
        stage: `stand`, `walk` (a doorway in the middle), `seat` or `couch` (a seat in the middle).
        upright: whether the frame is in portrait orientation.
        side: direction in which the person on the couch faces, -1 left or 1 right.
    """
    if stage == "couch":
        return [Slot(0.74 * side, 0.0, side)]
    if stage == "seat":
        return [Slot(-0.68, 0.0, -1), Slot(0.68, 0.0, 1)]
    if stage == "walk":
        return [Slot(-1.3, -0.8, -1), Slot(1.3, 0.8, 1)]
    if upright:
        return [Slot(-0.66, -0.16, -1), Slot(0.66, 0.16, 1)]
    return [Slot(-1.2, -0.72, -1), Slot(1.2, 0.72, 1), Slot(0.02, -0.46, 1)]


def table_top(rules: Rules) -> float:
    """Return the height of a table top in metres above the feet."""
    return WALL_BASE + rules.objects["table"].shape.size[1]


def place_role(
    rules: Rules, name: str, role: str, objects: dict[str, str], slot: Slot, scale: float
) -> tuple[float, float]:
    """Return the resting position of an object's centre.

    Args:
        rules: contents of configs/world/.
        name: object class.
        role: role of the object in its story.
        objects: object class of each role of the story.
        slot: place of the story.
        scale: size relative to the object class.

    Returns:
        Distance to the right of the middle and height above the feet, in metres.
    """
    rule = rules.objects[name]
    width, height = (scale * v for v in rule.shape.size)
    if name == "floor":
        return (0.0, 0.0)
    if slot.x == 0.0:
        return _in_the_middle(rules, name, role, slot)
    if name == "table":
        return (slot.x + TABLE_REACH * slot.side, WALL_BASE + height / 2)
    if "s" in objects and role != "s":
        shelf = rules.objects["shelf"]
        board = shelf.level + (0.5 - _BOARD) * shelf.shape.size[1]
        return (slot.x, board + height / 2)
    if "b" in objects and role != "b":
        box_top = table_top(rules) + 0.76 * rules.objects["box"].shape.size[1]
        return (slot.x, box_top + 0.04)
    match rule.spot:
        case "surface":
            return (slot.x, table_top(rules) + height / 2 - 0.015)
        case "wall" | "ceiling":
            return (slot.x + (0.4 * slot.side if slot.station == 0 else 0.0), rule.level)
        case _:
            near = slot.station + _ARM_ROOM * slot.side
            return (near + width / 2 * slot.side, WALL_BASE + height / 2)


def _in_the_middle(rules: Rules, name: str, role: str, slot: Slot) -> tuple[float, float]:
    """Return the centre of a seat, of a doorway or of a table beside the seat."""
    width, height = rules.objects[name].shape.size
    if name == "table" and role == "t":
        return (0.8 * slot.side, WALL_BASE + height / 2)
    if name in _SEATS:
        aside = 0.0 if name == "chair" else -(width / 2 - 0.45) * slot.side
        return (aside, SEAT_BASE + height / 2)
    return (0.0, WALL_BASE + height / 2)
