"""Image canvas that records which pixels each object covers."""

from dataclasses import dataclass, field

import cv2
import numpy as np

from tools.world.sprites import Colour, Sprite

Point = tuple[float, float]
_BITS = 4  # sub-pixel bits of OpenCV's drawing functions


def to_point(array: np.ndarray) -> Point:
    """Convert an array of two numbers to a point."""
    return float(array[0]), float(array[1])


@dataclass
class Trace:
    """Extent of one thing on the canvas, including the parts that other things cover.

    Attributes:
        box: bounding box (x1, y1, x2, y2) in pixels.
        area: unoccluded area in pixels. 0 for polygons, lines and ellipses.
    """

    box: tuple[float, float, float, float]
    area: int

    def grown(self, other: "Trace") -> "Trace":
        """Return the union of both extents, with the enclosing box and the summed area."""
        (a, b, c, d), (e, f, g, h) = self.box, other.box
        return Trace((min(a, e), min(b, f), max(c, g), max(d, h)), self.area + other.area)


@dataclass
class Canvas:
    """Image canvas that records the visible pixels of things.

    A thing is the person or an object, identified by a number from 1 to 255.

    Attributes:
        image: (H, W, 3) uint8 RGB, changed in place.
        ids: (H, W) uint8, frontmost thing at each pixel (0 for none). None if things are not
            recorded.
        traces: extent of each thing.
    """

    image: np.ndarray
    ids: np.ndarray | None = None
    traces: dict[int, Trace] = field(default_factory=dict)

    def sprite(
        self,
        sprite: Sprite,
        centre: Point,
        thing: int = 0,
        *,
        angle: float = 0.0,
        flip: bool = False,
    ) -> None:
        """Paint a sprite.

        Args:
            sprite: sprite to paint.
            centre: position of its centre in pixels.
            thing: thing to record, or 0 for none.
            angle: clockwise rotation in degrees.
            flip: whether the sprite is mirrored horizontally.
        """
        h, w = sprite.alpha.shape
        turn = np.deg2rad(angle)
        cos, sin = np.cos(turn), np.sin(turn)
        sx = -1.0 if flip else 1.0
        half = (abs(cos) * w + abs(sin) * h) / 2, (abs(sin) * w + abs(cos) * h) / 2
        x1, y1 = int(np.floor(centre[0] - half[0])), int(np.floor(centre[1] - half[1]))
        x2, y2 = int(np.ceil(centre[0] + half[0])), int(np.ceil(centre[1] + half[1]))
        height, width = self.image.shape[:2]
        left, top, right, bottom = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
        if left >= right or top >= bottom:
            return
        matrix = np.array([[cos * sx, -sin, 0.0], [sin * sx, cos, 0.0]])
        middle = np.array([(w - 1) / 2, (h - 1) / 2])
        matrix[:, 2] = np.array(centre) - 0.5 - [left, top] - matrix[:, :2] @ middle
        size = (right - left, bottom - top)
        alpha = cv2.warpAffine(sprite.alpha, matrix, size, flags=cv2.INTER_LINEAR)
        painted = cv2.warpAffine(sprite.image, matrix, size, flags=cv2.INTER_LINEAR)
        region = self.image[top:bottom, left:right]
        keep = cv2.cvtColor(cv2.bitwise_not(alpha), cv2.COLOR_GRAY2RGB)
        cv2.add(cv2.multiply(region, keep, scale=1 / 255), painted, dst=region)
        if thing and self.ids is not None:
            solid = alpha >= 128
            self.ids[top:bottom, left:right][solid] = thing
            x, y, bw, bh = cv2.boundingRect(solid.astype(np.uint8))
            if bw and bh:
                box = (float(left + x), float(top + y), float(left + x + bw), float(top + y + bh))
                self.remember(thing, Trace(box, sprite.area))

    def polygon(self, points: np.ndarray, colour: Colour, thing: int = 0) -> None:
        """Fill a polygon of (n, 2) points in pixels."""
        scaled = np.round(points * (1 << _BITS)).astype(np.int32)
        cv2.fillPoly(self.image, [scaled], colour, cv2.LINE_AA, _BITS)
        if thing and self.ids is not None:
            cv2.fillPoly(self.ids, [scaled], thing, cv2.LINE_8, _BITS)
            self._note(points, 0.0, thing)

    def limb(self, a: Point, b: Point, width: float, colour: Colour, thing: int = 0) -> None:
        """Draw a line with round ends."""
        ends = tuple(tuple(round(v * (1 << _BITS)) for v in p) for p in (a, b))
        thick = max(round(width), 1)
        cv2.line(self.image, ends[0], ends[1], colour, thick, cv2.LINE_AA, _BITS)
        if thing and self.ids is not None:
            cv2.line(self.ids, ends[0], ends[1], thing, thick, cv2.LINE_8, _BITS)
            self._note(np.array([a, b]), width / 2, thing)

    def ellipse(self, centre: Point, radii: Point, colour: Colour, thing: int = 0) -> None:
        """Draw a filled ellipse."""
        c = tuple(round(v * (1 << _BITS)) for v in centre)
        r = tuple(max(round(v * (1 << _BITS)), 1) for v in radii)
        cv2.ellipse(self.image, c, r, 0, 0, 360, colour, -1, cv2.LINE_AA, _BITS)
        if thing and self.ids is not None:
            cv2.ellipse(self.ids, c, r, 0, 0, 360, thing, -1, cv2.LINE_8, _BITS)
            self._note(np.array([centre]), max(radii), thing)

    def darken(self, centre: Point, radii: Point, gain: float) -> None:
        """Draw a soft elliptical shadow.

        Args:
            centre: centre of the shadow in pixels.
            radii: horizontal and vertical radius in pixels.
            gain: relative brightness at the centre, 0 to 1.
        """
        height, width = self.image.shape[:2]
        x1, x2 = max(int(centre[0] - radii[0]), 0), min(int(centre[0] + radii[0]) + 1, width)
        y1, y2 = max(int(centre[1] - radii[1]), 0), min(int(centre[1] + radii[1]) + 1, height)
        if x1 >= x2 or y1 >= y2:
            return
        xs = (np.arange(x1, x2, dtype=np.float32) - centre[0]) / radii[0]
        ys = (np.arange(y1, y2, dtype=np.float32) - centre[1]) / radii[1]
        soft = np.clip(1.0 - xs[None] ** 2 - ys[:, None] ** 2, 0, 1) * (1 - gain)
        region = self.image[y1:y2, x1:x2]
        region[:] = (region * (1 - soft[..., None])).astype(np.uint8)

    def remember(self, thing: int, trace: Trace) -> None:
        """Extend the recorded extent of a thing."""
        known = self.traces.get(thing)
        self.traces[thing] = trace if known is None else known.grown(trace)

    def _note(self, points: np.ndarray, margin: float, thing: int) -> None:
        (x1, y1), (x2, y2) = points.min(0) - margin, points.max(0) + margin
        self.remember(thing, Trace((float(x1), float(y1), float(x2), float(y2)), 0))
