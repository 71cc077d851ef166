"""Rendering of frames with the boxes of hands, head and objects."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from tools.world import rules as household
from tools.world.cad120.performance import ItemState, Snapshot
from tools.world.cad120.rules import MICROWAVE, Rules
from tools.world.cad120.script import Script
from tools.world.cad120.table import BACK, FRONT, PELVIS, side_of
from tools.world.canvas import Canvas, Point, to_point
from tools.world.figure import Figure, Stance, skeleton
from tools.world.room import MARGIN, Camera, draw_room, light_map
from tools.world.sprites import Sprite, paint, shade

Box = tuple[int, int, int, int]
#: Box of an object that is not visible.
INVISIBLE: Box = (0, 0, 0, 0)
HEAD, HANDS = "head_1", ("hand_1", "hand_2")
#: Smallest visible share of an object with a box.
LEAST_VISIBLE = 0.5
#: Numbers of both hands and of the table on the canvas; objects start at 1.
_HAND_MARKS, _TABLE_MARK = (252, 253), 254
_TOP_M = 1.63  # height of the upper edge of the frame
_LEVELS = 12
#: Length of an upper arm in metres, and its direction out of the line from shoulder to hand, for
#: the hand at the right. The length below 1 is the foreshortening of an elbow towards the camera.
_UPPER_ARM, _OUT = 0.29, (0.55, -0.5)
_PALM, _THUMB = (0.052, 0.058), (0.024, 0.03)


@dataclass(frozen=True)
class Frame:
    """Rendered frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        boxes: (x, y, width, height) in pixels of the head, the hands and the objects, by id;
            `INVISIBLE` if less than `LEAST_VISIBLE` of the object is visible.
    """

    image: np.ndarray
    boxes: dict[str, Box]


class Renderer:
    """Renderer of the frames of a script."""

    def __init__(self, rules: Rules, script: Script) -> None:
        self.rules, self.script = rules, script
        feet = _TOP_M * script.room.pixels_per_m / script.size[1]
        self.camera = Camera(script.room, script.size, feet)
        self._room = draw_room(household.load_rules(), script.room, self.camera)
        self._gains = light_map(script.room, self.camera)
        self._paint = lru_cache(maxsize=256)(self._painted)

    def frame(self, index: int) -> Frame:
        """Render the frame with an index."""
        shot = self.script.frames[index]
        canvas = Canvas(self._room.copy(), np.zeros(self._room.shape[:2], np.uint8))
        areas: dict[int, int] = {}
        figure = self._figure(canvas, index, shot)
        figure.torso()
        figure.head()
        for hand in (0, 1):
            if shot.in_lap[hand]:
                self._arm(figure, hand, shot, areas)
        self._table(canvas)
        rows = [row for row, state in enumerate(shot.items) if state.holder is None]
        for row in sorted(rows, key=lambda row: self._depth(row, shot)):
            if not self._is_shut_in(shot, shot.items[row]):
                self._item(canvas, row, shot.items[row], areas)
        for hand in (0, 1):
            if not shot.in_lap[hand]:
                self._arm(figure, hand, shot, areas)
        return Frame(self._developed(canvas.image), self._boxes(canvas, figure, areas))

    def _figure(self, canvas: Canvas, index: int, shot: Snapshot) -> Figure:
        actor, camera = self.script.actor, self.camera
        time_s = index / self.script.rate
        sway = actor.sway * np.sin(2 * np.pi * actor.sway_hz * time_s + self.script.key[-1])
        stance = Stance(
            x=0.0,
            up=0.0,
            scale=1.0,
            pelvis=(float(sway), PELVIS),
            lean=0.0,
            feet=((-0.1, 0.3), (0.1, 0.3)),
            body_yaw=0.0,
            head_yaw=float(np.clip(1.6 * shot.gaze[0], -1, 1)),
            pitch=float(np.clip(1.8 * (shot.gaze[1] - 1.3), -0.9, 0.2)),
            eyes=1.0,
        )
        bones = skeleton(actor, stance)
        return Figure(canvas, actor, bones, stance, camera.to_pixels, camera.pixels_per_m)

    def _arm(self, figure: Figure, hand: int, shot: Snapshot, areas: dict[int, int]) -> None:
        """Draw an arm, the object in its hand, and the hand in front of the object."""
        wrist = shot.hands[hand]
        elbow = _elbow(figure.bones.shoulders[hand], wrist, side_of(hand))
        figure.arm(hand, elbow, wrist)
        for row, state in enumerate(shot.items):
            if state.holder == hand:
                self._item(figure.canvas, row, state, areas)
        mark, (x, y) = _HAND_MARKS[hand], self.camera.to_pixels(wrist)
        inner, unit, skin = 1 - 2 * hand, figure.unit, self.script.actor.skin
        thumb = (x + inner * 0.045 * unit, y - 0.018 * unit)
        figure.canvas.ellipse((x, y), _radii(_PALM, unit), shade(skin, 0.72), mark)
        figure.canvas.ellipse(thumb, _radii(_THUMB, unit), shade(skin, 0.9), mark)
        figure.canvas.ellipse((x, y), _radii(_PALM, 0.82 * unit), shade(skin, 1.06))
        areas[mark] = _count(figure.canvas, mark)

    def _table(self, canvas: Canvas) -> None:
        colour, low = self.script.table, -1.0
        corners = [(-0.8, BACK), (0.8, BACK), (1.0, FRONT), (-1.0, FRONT)]
        edge = [(-1.0, FRONT), (1.0, FRONT), (1.0, low), (-1.0, low)]
        canvas.polygon(self._pixels(corners), colour, _TABLE_MARK)
        canvas.polygon(self._pixels(edge), shade(colour, 0.6), _TABLE_MARK)
        for height in (0.9, 0.8, 0.7):
            wide = 0.8 + 0.2 * (BACK - height) / (BACK - FRONT)
            left, right = (self.camera.to_pixels((side * wide, height)) for side in (-1, 1))
            canvas.limb(left, right, 0.004 * self.camera.pixels_per_m, shade(colour, 0.88))

    def _item(self, canvas: Canvas, row: int, state: ItemState, areas: dict[int, int]) -> None:
        item = self.script.items[row]
        sprite = self._paint(row, round(state.openness * _LEVELS))
        centre = self.camera.to_pixels(state.centre)
        canvas.sprite(sprite, centre, row + 1, angle=state.angle, flip=item.flip)
        areas[row + 1] = _count(canvas, row + 1)

    def _painted(self, row: int, level: int) -> Sprite:
        item = self.script.items[row]
        shape = self.rules.shape(item.object)
        return paint(shape, item.look, self.camera.pixels_per_m, level / _LEVELS)

    def _depth(self, row: int, shot: Snapshot) -> tuple[float, int]:
        """Return the drawing order of an object that no hand holds, farther objects first."""
        item, state = self.script.items[row], shot.items[row]
        oven = item.object == MICROWAVE
        bottom = state.centre[1] - item.size[1] / 2
        return (-10.0, 0) if oven else (-9.0, row) if state.inside else (-bottom, row)

    def _is_shut_in(self, shot: Snapshot, state: ItemState) -> bool:
        pairs = zip(self.script.items, shot.items, strict=True)
        openness = next((s.openness for item, s in pairs if item.object == MICROWAVE), 0.0)
        return state.inside and openness < 0.5

    def _pixels(self, points: list[Point]) -> np.ndarray:
        return np.array([self.camera.to_pixels(point) for point in points])

    def _developed(self, image: np.ndarray) -> np.ndarray:
        """Crop the border and apply the light."""
        width, height = self.script.size
        crop = np.s_[MARGIN : MARGIN + height, MARGIN : MARGIN + width]
        lit = cv2.multiply(image[crop].astype(np.float32), self._gains[crop])
        developed: np.ndarray = np.clip(lit, 0, 255).astype(np.uint8)
        return developed

    def _boxes(self, canvas: Canvas, figure: Figure, areas: dict[int, int]) -> dict[str, Box]:
        marks = dict(zip(HANDS, _HAND_MARKS, strict=True))
        marks |= {item.id: row + 1 for row, item in enumerate(self.script.items)}
        boxes = {HEAD: self._clipped(figure.head_box())}
        for name, mark in marks.items():
            area = areas.get(mark, 0)
            seen = area > 0 and _count(canvas, mark) >= LEAST_VISIBLE * area
            boxes[name] = self._clipped(canvas.traces[mark].box) if seen else INVISIBLE
        return boxes

    def _clipped(self, box: tuple[float, float, float, float]) -> Box:
        """Convert a box of the canvas to whole pixels of the frame, `INVISIBLE` outside of it."""
        limits = np.array(self.script.size * 2)
        first = np.clip(np.floor(np.array(box[:2]) - MARGIN), 0, limits[:2]).astype(int)
        last = np.clip(np.ceil(np.array(box[2:]) - MARGIN), 0, limits[2:]).astype(int)
        width, height = (last - first).tolist()
        return (int(first[0]), int(first[1]), width, height) if min(width, height) else INVISIBLE


def _elbow(shoulder: Point, hand: Point, side: int) -> Point:
    """Return the elbow of an arm, which points down and away from the body."""
    first, last = np.array(shoulder), np.array(hand)
    out = max(_UPPER_ARM**2 - float(((last - first) ** 2).sum()) / 4, 0.0) ** 0.5
    return to_point((first + last) / 2 + out * np.array([side * _OUT[0], _OUT[1]]))


def _count(canvas: Canvas, mark: int) -> int:
    assert canvas.ids is not None
    return int(np.count_nonzero(canvas.ids == mark))


def _radii(shares: Point, unit: float) -> Point:
    return shares[0] * unit, shares[1] * unit
