"""Walls, floor, decor, camera and light of a frame."""

import cv2
import numpy as np

from tools.world.canvas import Canvas, Point
from tools.world.rules import Rules
from tools.world.script import Room
from tools.world.sprites import paint, shade

#: Width in pixels of the border around the frame, required by the shaking camera.
MARGIN = 6
_FEET = 0.93  # distance of the feet from the top, as a share of the height of the frame


class Camera:
    """Projection from metres to pixels of the frame with its border.

    Args:
        room: room, with the scale and the aim of the camera.
        size: (width, height) of the frame in pixels.
        feet: distance of the feet from the top, as a share of the height of the frame.
    """

    def __init__(self, room: Room, size: tuple[int, int], feet: float = _FEET) -> None:
        self.width, self.height = (v + 2 * MARGIN for v in size)
        self.pixels_per_m = room.pixels_per_m
        self.middle = self.width / 2 - room.pan * self.pixels_per_m
        self.feet = MARGIN + feet * size[1]

    def to_pixels(self, point: Point) -> Point:
        """Convert (x, y) in metres, y up from the feet, to pixels, y down from the top."""
        return (
            self.middle + point[0] * self.pixels_per_m,
            self.feet - point[1] * self.pixels_per_m,
        )


def draw_room(rules: Rules, room: Room, camera: Camera) -> np.ndarray:
    """Draw the empty room and return an (H, W, 3) uint8 RGB image."""
    line = int(camera.to_pixels((0.0, room.floor_line))[1])
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    image[:] = room.wall
    _pattern(image[:line], room.wall_pattern, room.pixels_per_m, 0.93)
    image[line:] = room.floor
    _pattern(image[line:], room.floor_pattern, room.pixels_per_m, 0.86)
    cv2.rectangle(image, (0, line - 4), (camera.width, line), shade(room.wall, 1.15), -1)
    cv2.line(image, (0, line), (camera.width, line), shade(room.floor, 0.6), 1)
    canvas = Canvas(image)
    for name in room.decor:
        place, shape = rules.decor[name]
        sprite = paint(shape, room.decor_look, camera.pixels_per_m)
        canvas.sprite(sprite, camera.to_pixels(place))
    return image


def light_map(room: Room, camera: Camera) -> np.ndarray:
    """Return the (H, W, 3) float32 gains of the light.

    The gains model the colour and direction of the light, and vignetting.
    """
    xs = np.linspace(-1, 1, camera.width, dtype=np.float32)[None]
    ys = np.linspace(-1, 1, camera.height, dtype=np.float32)[:, None]
    fall = 1 + 0.12 * room.light_from * xs - 0.1 * (xs**2 + ys**2)
    gains: np.ndarray = fall[..., None] * np.array(room.light, np.float32)
    return gains.astype(np.float32)


def _pattern(area: np.ndarray, pattern: str, pixels_per_m: float, gain: float) -> None:
    height, width = area.shape[:2]
    dark = tuple(int(gain * c) for c in area[0, 0]) if height else (0, 0, 0)
    step = max(int(0.3 * pixels_per_m), 6)
    match pattern:
        case "stripes":
            for x in range(0, width, step):
                area[:, x : x + step // 2] = dark
        case "panels":
            for x in range(0, width, 2 * step):
                area[:, x : x + 2] = dark
            area[height * 2 // 3 : height * 2 // 3 + 3] = dark
        case "tiles" | "bricks":
            for row, y in enumerate(range(0, height, step)):
                area[y : y + 1] = dark
                shift = step // 2 * (row % 2) if pattern == "bricks" else 0
                for x in range(shift, width, step):
                    area[y : y + step, x : x + 1] = dark
        case "planks":
            for y in range(0, height, max(step // 3, 3)):
                area[y : y + 1] = dark
        case "checks":
            ys, xs = np.mgrid[:height, :width]
            area[((ys // (step // 2)) + (xs // step)) % 2 == 1] = dark
        case _:
            pass
