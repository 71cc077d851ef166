"""Shapes painted into small images with an alpha channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from tools.world.rules import Shape

Colour = tuple[int, int, int]
TEXTURES = ("plain", "stripes", "bands", "dots", "checks", "grain")
_FINE = 3
_EDGE = 0.62


@dataclass(frozen=True)
class Look:
    """Appearance of one instance of a shape.

    Attributes:
        main, second: colours.
        texture: one of `TEXTURES`.
        scale: size relative to the object class.
        seed: seed of the texture.
    """

    main: Colour
    second: Colour
    texture: str
    scale: float
    seed: int


@dataclass(frozen=True)
class Sprite:
    """Painted shape.

    Attributes:
        image: (h, w, 3) uint8 RGB, premultiplied by alpha.
        alpha: (h, w) uint8.
        area: number of pixels with an alpha of 128 or more.
    """

    image: np.ndarray
    alpha: np.ndarray
    area: int


def paint(shape: Shape, look: Look, pixels_per_m: float, openness: float = 0.0) -> Sprite:
    """Paint a shape.

    Args:
        shape: shape to paint.
        look: appearance of the shape.
        pixels_per_m: scale in pixels per metre.
        openness: 0 (shut) to 1 (open). Parts with a `to` entry move accordingly.
    """
    width, height = (max(v * look.scale * pixels_per_m, 2.0) for v in shape.size)
    size = (round(height) * _FINE, round(width) * _FINE)
    rng = np.random.default_rng(look.seed)
    image, alpha = np.zeros((*size, 3), np.float32), np.zeros(size, np.uint8)
    cloth = _texture(look, size, rng)
    for part in shape.parts:
        if part.get("only") == ("shut" if openness >= 0.5 else "open"):
            continue
        mask = np.zeros(size, np.uint8)
        _stamp(mask, part, openness)
        inside = mask > 127
        image[inside] = cloth[inside] if part["fill"] == "main" else _fill(part["fill"], look)
        rim = inside & (cv2.erode(mask, np.ones((3, 3), np.uint8)) <= 127)
        image[rim] *= _EDGE
        alpha = np.maximum(alpha, mask)
    image *= np.linspace(1.08, 0.86, size[0], dtype=np.float32)[:, None, None]
    whole: np.ndarray = np.clip(image, 0, 255) * (alpha[..., None] / 255.0)
    small = (size[1] // _FINE, size[0] // _FINE)
    image8 = cv2.resize(whole.astype(np.uint8), small, interpolation=cv2.INTER_AREA)
    alpha8 = cv2.resize(alpha, small, interpolation=cv2.INTER_AREA)
    pad = ((1, 1), (1, 1))
    padded = np.pad(alpha8, pad)
    return Sprite(np.pad(image8, (*pad, (0, 0))), padded, int((padded >= 128).sum()))


def shade(colour: Colour, gain: float) -> Colour:
    """Return a lighter or darker colour."""
    r, g, b = (min(max(round(c * gain), 0), 255) for c in colour)
    return r, g, b


def _stamp(mask: np.ndarray, part: Mapping[str, Any], openness: float) -> None:
    height, width = mask.shape
    kind = next(k for k in ("rect", "ellipse", "poly", "line") if k in part)
    shut = np.array(part[kind], np.float64)
    opened = np.array(part.get("to", part[kind]), np.float64)
    where = shut + (opened - shut) * openness
    line = part.get("width", 0) * min(width, height)
    scale = np.array([width, height])
    if kind == "poly":
        points = np.round(where * scale).astype(np.int32)
        if line:
            cv2.polylines(mask, [points], True, 255, max(round(line), 1))
        else:
            cv2.fillPoly(mask, [points], 255)
    elif kind == "rect":
        x1, y1, x2, y2 = np.round(where * [width, height, width, height]).astype(int).tolist()
        cv2.rectangle(mask, (x1, y1), (max(x2 - 1, x1), max(y2 - 1, y1)), 255, -1)
    elif kind == "line":
        x1, y1, x2, y2 = np.round(where * [width, height, width, height]).astype(int).tolist()
        cv2.line(mask, (x1, y1), (x2, y2), 255, max(round(line), 1))
    else:
        x, y, rx, ry = np.round(where * [width, height, width, height]).astype(int).tolist()
        cv2.ellipse(mask, (x, y), (rx, ry), 0, 0, 360, 255, max(round(line), 1) if line else -1)


def _fill(name: str, look: Look) -> Colour:
    named = {
        "main": look.main,
        "second": look.second,
        "dark": shade(look.main, 0.66),
        "light": shade(look.main, 1.25),
    }
    return named[name] if name in named else parse_colour(name)


def parse_colour(text: str) -> Colour:
    """Convert `#rrggbb` to (red, green, blue), each from 0 to 255."""
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def _texture(look: Look, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Return the main colour with a pattern of the second colour, (h, w, 3) float32."""
    ys, xs = np.mgrid[: size[0], : size[1]]
    step = max(min(size) // 5, 4)
    match look.texture:
        case "stripes":
            pattern = (xs // step) % 2 == 1
        case "bands":
            pattern = (ys // step) % 2 == 1
        case "checks":
            pattern = ((xs // step) + (ys // step)) % 2 == 1
        case "dots":
            pattern = (xs % step - step / 2) ** 2 + (ys % step - step / 2) ** 2 < (step / 4) ** 2
        case _:
            pattern = np.zeros(size, bool)
    cloth = np.empty((*size, 3), np.float32)
    cloth[:] = look.main
    cloth[pattern] = 0.65 * cloth[pattern] + 0.35 * np.array(look.second, np.float32)
    if look.texture == "grain":
        cloth *= rng.uniform(0.85, 1.12, (*size, 1)).astype(np.float32)
    return cloth
