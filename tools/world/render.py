"""Rendering of frames with the boxes and the visibility of their objects."""

from dataclasses import dataclass
from functools import lru_cache
from math import dist

import cv2
import numpy as np

from tools.world.canvas import Canvas, Trace
from tools.world.figure import PERSON_MARK, Figure
from tools.world.room import MARGIN, Camera, draw_room, light_map
from tools.world.rules import Rules
from tools.world.script import Prop, Script, Thread
from tools.world.sprites import Sprite, paint
from tools.world.staging import Placed, Scene, Stage

Box = tuple[float, float, float, float]
_LEVELS = 12
_EXPOSURE_S = 1 / 60
_FAST_M_PER_S = 0.9
_GRAIN = np.random.default_rng(0).normal(0, 1, (1024, 1024)).astype(np.float32)


@dataclass(frozen=True)
class Seen:
    """Person or object in a frame.

    Attributes:
        object: class name.
        thread: row in `Script.threads`, -1 for the person, None for clutter.
        box: xyxy in pixels, clipped to the frame.
        visible: share of the area that is inside the frame and not covered. 1 for the person.
    """

    object: str
    thread: int | None
    box: Box
    visible: float


@dataclass(frozen=True)
class Frame:
    """Rendered frame.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        things: the person and the objects. Empty unless annotations are requested.
    """

    image: np.ndarray
    things: tuple[Seen, ...] = ()


class Renderer:
    """Renderer of the frames of a video from its description (`Script`).

    A given time always produces identical pixels.
    """

    def __init__(self, rules: Rules, script: Script) -> None:
        self.rules, self.script = rules, script
        self.stage = Stage(rules, script)
        self.camera = Camera(script.room, script.size)
        self._room = draw_room(rules, script.room, self.camera)
        self._gains = light_map(script.room, self.camera)
        self._paint = lru_cache(maxsize=256)(self._painted)
        self._room_ids = np.zeros(self._room.shape[:2], np.uint8)
        self._still: dict[int, Trace] = {}
        self._draw_still()

    def frame(self, time_s: float, *, annotate: bool = False) -> Frame:
        """Render the frame at a time.

        Args:
            time_s: time in seconds.
            annotate: if True, boxes and visibility are computed as well.
        """
        scene = self.stage.at(time_s)
        canvas = Canvas(self._room.copy(), self._room_ids.copy() if annotate else None)
        canvas.traces.update(self._still)
        self._draw(canvas, scene)
        image = canvas.image
        speed = self._speed(time_s, scene)
        if speed > _FAST_M_PER_S:
            early, late = Canvas(self._room.copy()), Canvas(self._room.copy())
            self._draw(early, self.stage.at(time_s - _EXPOSURE_S / 2))
            self._draw(late, self.stage.at(time_s + _EXPOSURE_S / 2))
            image = cv2.addWeighted(early.image, 0.5, late.image, 0.5, 0)
        shift = self._shake(time_s)
        developed = self._develop(image, scene.light, time_s, shift)
        return Frame(developed, self._seen(canvas, shift) if annotate else ())

    def thread_boxes(self, time_s: float) -> dict[int, Box]:
        """Return the boxes of the threads at a time, without the pixels of the frame.

        Args:
            time_s: time in seconds.

        Returns:
            Map from the row in `Script.threads` to the box. The boxes equal those of `frame`.
            Objects outside the frame are missing.
        """
        canvas = Canvas(np.empty_like(self._room), np.zeros_like(self._room_ids))
        for row, placed in enumerate(self.stage.at(time_s).objects):
            self._object(canvas, row, placed)
        shift = self._shake(time_s)
        boxes = {thing - 1: self._clipped(t.box, shift) for thing, t in canvas.traces.items()}
        return {row: box for row, box in boxes.items() if box is not None}

    def _draw_still(self) -> None:
        """Paint all static objects into the image of the room."""
        canvas = Canvas(self._room, self._room_ids)
        for row, prop in enumerate(self.script.props):
            rule = self.rules.objects[prop.object]
            look_scale = prop.look.scale if rule.spot == "surface" else 1.0
            sprite = self._paint(prop.object, -1 - row, 0, look_scale)
            centre = self.camera.to_pixels(prop.place)
            canvas.sprite(sprite, centre, self._thing(prop), flip=prop.flip)
        self._still = canvas.traces

    def _thing(self, item: Prop | Thread) -> int:
        """Return the id of an object on the canvas. Threads start at 1, and clutter follows."""
        threads, props = self.script.threads, self.script.props
        if isinstance(item, Thread):
            return threads.index(item) + 1
        return len(threads) + props.index(item) + 1

    def _painted(self, name: str, row: int, level: int, scale: float) -> Sprite:
        items = self.script.threads if row >= 0 else self.script.props
        look = items[row if row >= 0 else -1 - row].look
        rule = self.rules.objects[name]
        grown = self.camera.pixels_per_m * scale / look.scale
        return paint(rule.shape, look, grown, level / _LEVELS)

    def _draw(self, canvas: Canvas, scene: Scene) -> None:
        layers: dict[str, list[tuple[int, Placed]]] = {"rest": [], "back": [], "front": []}
        for row, placed in enumerate(scene.objects):
            layers[placed.layer].append((row, placed))
        for row, placed in reversed(layers["rest"]):
            self._object(canvas, row, placed)
        stance, camera = scene.stance, self.camera
        ground = camera.to_pixels((stance.x, stance.up))
        wide = 0.34 * camera.pixels_per_m
        canvas.darken((ground[0] + 0.1 * wide, ground[1]), (wide, 0.22 * wide), 0.6)
        figure = Figure(
            canvas, self.script.actor, scene.bones, stance, camera.to_pixels, camera.pixels_per_m
        )
        for row, placed in layers["back"]:
            self._object(canvas, row, placed)
        far = 1 if stance.body_yaw >= 0 else 0
        if abs(stance.body_yaw) > 0.3:
            figure.arm(far, *scene.arms[far])
        figure.legs()
        figure.torso()
        figure.head()
        for row, placed in layers["front"]:
            self._object(canvas, row, placed)
        if abs(stance.body_yaw) <= 0.3:
            figure.arm(far, *scene.arms[far])
        figure.arm(1 - far, *scene.arms[1 - far])

    def _object(self, canvas: Canvas, row: int, placed: Placed) -> None:
        thread = self.script.threads[row]
        if thread.object == "floor":
            self._floor(canvas, row)
            return
        level = round(placed.openness * _LEVELS)
        sprite = self._paint(thread.object, row, level, round(thread.look.scale * placed.grow, 2))
        centre = self.camera.to_pixels(placed.centre)
        thing = row + 1
        if thread.object == "shoe" and placed.layer == "front" and "shod" in thread.states:
            apart = 0.1 * self.camera.pixels_per_m
            left = (centre[0] - apart, centre[1])
            canvas.sprite(sprite, left, thing, angle=placed.angle, flip=placed.flip)
            centre = (centre[0] + apart, centre[1])
        canvas.sprite(sprite, centre, thing, angle=placed.angle, flip=placed.flip)

    def _floor(self, canvas: Canvas, row: int) -> None:
        """Record the extent of the floor. Its pixels are already part of the image of the room."""
        if canvas.ids is None:
            return
        line = int(self.camera.to_pixels((0.0, self.script.room.floor_line))[1])
        floor = canvas.ids[line:]
        floor[floor == 0] = row + 1
        box = (0.0, float(line), float(self.camera.width), float(self.camera.height))
        canvas.remember(row + 1, Trace(box, floor.size))

    def _speed(self, time_s: float, scene: Scene) -> float:
        """Return the speed of the fastest hand, object or person in metres per second."""
        later = self.stage.at(time_s + _EXPOSURE_S)
        points = [
            [
                *(item.centre for item in at.objects),
                *(hand for _, hand in at.arms),
                (at.stance.x, 0),
            ]
            for at in (scene, later)
        ]
        return max(map(dist, *points)) / _EXPOSURE_S

    def _shake(self, time_s: float) -> tuple[int, int]:
        """Return the offset (right, down) of the shaking camera in pixels."""
        room = self.script.room
        x, y = np.sin(2 * np.pi * 0.31 * time_s), np.sin(2 * np.pi * 0.47 * time_s + 1)
        return round(room.shake * float(x)), round(room.shake * float(y))

    def _develop(
        self, image: np.ndarray, light: float, time_s: float, shift: tuple[int, int]
    ) -> np.ndarray:
        """Apply the light, the crop and the grain."""
        width, height = self.script.size
        x, y = MARGIN + shift[0], MARGIN + shift[1]
        crop = np.s_[y : y + height, x : x + width]
        lit = cv2.multiply(image[crop].astype(np.float32), self._gains[crop], scale=light)
        rng = np.random.default_rng([*self.script.key, 7, round(abs(time_s) * 1e4)])
        gy, gx = (int(v) for v in rng.integers(0, _GRAIN.shape[0] - max(width, height), 2))
        grain = _GRAIN[gy : gy + height, gx : gx + width] * np.float32(self.script.room.noise)
        developed: np.ndarray = np.clip(lit + grain[..., None], 0, 255).astype(np.uint8)
        return developed

    def _seen(self, canvas: Canvas, shift: tuple[int, int]) -> tuple[Seen, ...]:
        assert canvas.ids is not None
        width, height = self.script.size
        x, y = MARGIN + shift[0], MARGIN + shift[1]
        ids = canvas.ids[y : y + height, x : x + width]
        counts = np.bincount(ids.ravel(), minlength=256)
        things = []
        for thing, trace in sorted(canvas.traces.items(), key=lambda item: (item[0] - 255) % 256):
            box = self._clipped(trace.box, shift)
            if box is None:
                continue
            name, thread = self._named(thing)
            visible = 1.0 if thing == PERSON_MARK else min(counts[thing] / max(trace.area, 1), 1.0)
            things.append(Seen(name, thread, box, float(visible)))
        if all(thing.object != "floor" for thing in things):
            line = self.camera.to_pixels((0.0, self.script.room.floor_line))[1] - y
            floor = (0.0, float(round(line)), float(width), float(height))
            things.append(Seen("floor", None, floor, 1.0))
        return tuple(things)

    def _clipped(self, box: Box, shift: tuple[int, int]) -> Box | None:
        """Convert a box of the canvas to the frame, or return None if less than 2 pixels remain."""
        width, height = self.script.size
        x, y = MARGIN + shift[0], MARGIN + shift[1]
        x1, y1 = max(box[0] - x, 0.0), max(box[1] - y, 0.0)
        x2, y2 = min(box[2] - x, float(width)), min(box[3] - y, float(height))
        return None if x2 - x1 < 2 or y2 - y1 < 2 else (x1, y1, x2, y2)

    def _named(self, thing: int) -> tuple[str, int | None]:
        if thing == PERSON_MARK:
            return "person", -1
        num = len(self.script.threads)
        if thing <= num:
            return self.script.threads[thing - 1].object, thing - 1
        return self.script.props[thing - num - 1].object, None
