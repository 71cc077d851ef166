"""A frame of a script: image and boxes."""

from dataclasses import dataclass

import cv2
import numpy as np

from tools.world.figure import FLOOR_Y, Point, Pose, draw_figure, make_pose
from tools.world.script import SEAT, Script, Thread

_TABLE_Y = 0.66
_GRAIN = np.random.default_rng(0).normal(16, 4, (768, 768)).clip(0, 32).astype(np.uint8)


@dataclass(frozen=True)
class Frame:
    """What is seen at one time.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        person: (4,) float64 xyxy pixels, within the image.
        objects: per thread its box, xyxy pixels within the image, or None when out of sight.
        states: per thread the state that holds.
    """

    image: np.ndarray
    person: np.ndarray
    objects: tuple[np.ndarray | None, ...]
    states: tuple[str, ...]


def render(script: Script, time_s: float) -> Frame:
    """Draw the frame at a time; the same script and time give the same pixels."""
    width, height = script.size
    rng = np.random.default_rng([*script.seed, 7, round(time_s * 1e4)])
    image = _room(script)
    offset = width / height / 2 - 0.5  # positions are in heights; 0.5 is the middle of the image
    pose = _pose(script, time_s, offset)
    seats = [t for t in script.threads if t.rule.name == SEAT]
    others = [t for t in script.threads if t.rule.name != SEAT]
    boxes: dict[str, np.ndarray] = {}
    for thread in seats:
        boxes[thread.rule.name] = _draw_object(image, thread, _seat_place(script, offset))
    person = draw_figure(image, pose, script.look)
    for thread in others:
        place = _place(script, thread, time_s, pose, offset)
        boxes[thread.rule.name] = _draw_object(image, thread, place)
    return Frame(
        _camera(image, script.look.light, rng),
        _inside(person, width, height, least=0.0),
        tuple(_visible(boxes[t.rule.name], width, height) for t in script.threads),
        tuple(t.state_at(time_s) for t in script.threads),
    )


def _camera(image: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """Light and grain; the grain is cut from one tile at a place that differs per frame."""
    y, x = (int(v) for v in rng.integers(0, _GRAIN.shape[0] // 2, 2))
    grain = _GRAIN[y : y + image.shape[0], x : x + image.shape[1]]
    lit = cv2.convertScaleAbs(image, alpha=light, beta=-16)
    return cv2.add(lit, cv2.merge([grain, grain, grain]))


def _room(script: Script) -> np.ndarray:
    width, height = script.size
    look = script.look
    image = np.empty((height, width, 3), dtype=np.uint8)
    image[:] = look.wall
    image[int(0.80 * height) :] = look.floor
    cv2.rectangle(image, (0, int(_TABLE_Y * height)), (width, int(0.70 * height)), look.table, -1)
    for i in range(3):
        x = int((0.1 + 0.35 * i) * width)
        shade = tuple(int(0.9 * c) for c in look.wall)
        cv2.rectangle(image, (x, int(0.08 * height)), (x + width // 6, height // 4), shade, -1)
    return image


def _pose(script: Script, time_s: float, offset: float) -> Pose:
    sitting = sum(_share(t, time_s, "sat_on") for t in script.threads if t.rule.name == SEAT)
    sway = 0.006 * np.sin(2 * np.pi * (0.4 * time_s + script.look.stand_x))
    x = script.look.stand_x + offset + float(sway)
    upright = make_pose(script.look, x, sitting, (None, None))
    targets: list[Point | None] = [None, None]
    for thread in (t for t in script.threads if t.rule.name != SEAT):
        reach = max(_share(thread, time_s, s) for s in ("held", "drunk_from"))
        if reach > 0:
            rest = upright.hands[thread.hand]
            goal = _carried(script, thread, time_s, upright)
            targets[thread.hand] = _mix(rest, goal, min(2 * reach, 1.0))
    return make_pose(script.look, x, sitting, (targets[0], targets[1]))


def _share(thread: Thread, time_s: float, state: str) -> float:
    before, after, far = thread.blend_at(time_s)
    return (before == state) * (1 - far) + (after == state) * far


def _carried(script: Script, thread: Thread, time_s: float, pose: Pose) -> Point:
    sign = -1 if thread.hand == 0 else 1
    chest = (pose.neck[0] + sign * 0.13, pose.neck[1] + 0.20 * script.look.height)
    mouth = (pose.head[0] + sign * 0.05, pose.head[1] + 0.05)
    return _mix(chest, mouth, _share(thread, time_s, "drunk_from"))


def _place(script: Script, thread: Thread, time_s: float, pose: Pose, offset: float) -> Point:
    """Centre of a thing that can be carried."""
    low = _TABLE_Y - thread.scale * thread.rule.size[1] / 2
    near = script.look.side if thread.hand == 0 else -script.look.side
    table = (script.look.stand_x + offset + 0.22 * near, low)
    rest = (thread.place[0] + offset, low)
    hand = pose.hands[thread.hand]
    shares = [_share(thread, time_s, s) for s in ("resting", "noticed")]
    x = shares[0] * rest[0] + shares[1] * table[0] + (1 - sum(shares)) * hand[0]
    y = shares[0] * rest[1] + shares[1] * table[1] + (1 - sum(shares)) * hand[1]
    return x, y


def _seat_place(script: Script, offset: float) -> Point:
    behind = script.look.stand_x + offset - 0.05 * script.look.side
    return behind, FLOOR_Y - 0.25


def _draw_object(image: np.ndarray, thread: Thread, centre: Point) -> np.ndarray:
    unit = image.shape[0]
    w, h = (thread.scale * s for s in thread.rule.size)
    box = np.array([centre[0] - w / 2, centre[1] - h / 2, centre[0] + w / 2, centre[1] + h / 2])
    x1, y1, x2, y2 = (int(v) for v in np.round(box * unit))
    dark = tuple(int(0.6 * c) for c in thread.colour)
    match thread.rule.name:
        case "chair":
            seat = y1 + (y2 - y1) // 2
            cv2.rectangle(image, (x1, y1), (x1 + (x2 - x1) // 5, y2), thread.colour, -1)
            cv2.rectangle(image, (x1, seat), (x2, seat + (y2 - y1) // 8), thread.colour, -1)
            cv2.rectangle(image, (x2 - (x2 - x1) // 6, seat), (x2, y2), dark, -1)
        case "book":
            cv2.rectangle(image, (x1, y1), (x2, y2), thread.colour, -1)
            cv2.line(image, ((x1 + x2) // 2, y1), ((x1 + x2) // 2, y2), (250, 250, 250), 2)
        case "box":
            cv2.rectangle(image, (x1, y1), (x2, y2), thread.colour, -1)
            cv2.rectangle(image, (x1, y1), (x2, y1 + (y2 - y1) // 4), dark, -1)
        case _:
            points = np.array(
                [[x1, y1], [x2, y1], [x2 - (x2 - x1) // 5, y2], [x1 + (x2 - x1) // 5, y2]]
            )
            cv2.fillPoly(image, [points.astype(np.int32)], thread.colour, cv2.LINE_AA)
            cv2.ellipse(image, ((x1 + x2) // 2, y1), ((x2 - x1) // 2, 2), 0, 0, 360, dark, -1)
    return box * unit


def _inside(box: np.ndarray, width: int, height: int, *, least: float) -> np.ndarray:
    limit = np.array([width, height, width, height])
    return np.clip(box, least, limit)


def _visible(box: np.ndarray, width: int, height: int) -> np.ndarray | None:
    """The part of a box within the image, or None if less than a third of it is."""
    cut = _inside(box, width, height, least=0.0)
    area = (cut[2] - cut[0]) * (cut[3] - cut[1])
    return cut if 3 * area >= (box[2] - box[0]) * (box[3] - box[1]) else None


def _mix(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
