"""Joints and limbs of a person."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tools.world.canvas import Canvas, Point, to_point
from tools.world.cast import Actor
from tools.world.sprites import shade

PERSON_MARK = 255
_AVERAGE_M = 1.75
_SPINE, _NECK, _HEAD, _SHOULDER, _HIP = 0.5, 0.1, 0.115, 0.185, 0.1
_UPPER_ARM, _FOREARM, _THIGH, _SHIN = 0.29, 0.29, 0.44, 0.44


@dataclass(frozen=True)
class Stance:
    """Position and posture of a person at one time.

    Attributes:
        x, up: position of the person in metres. `up` is positive inside a doorway.
        scale: size relative to the normal size of the actor.
        pelvis: position relative to (x, up) in metres.
        lean: angle of the back in degrees, positive to the right.
        feet: positions of both feet relative to (x, up) in metres.
        body_yaw, head_yaw: -1 (left) to 1 (right).
        pitch: -1 (down) to 1 (up).
        eyes: 0 (shut) to 1 (open).
    """

    x: float
    up: float
    scale: float
    pelvis: Point
    lean: float
    feet: tuple[Point, Point]
    body_yaw: float
    head_yaw: float
    pitch: float
    eyes: float


@dataclass(frozen=True)
class Skeleton:
    """Joints of a person.

    Positions are in metres, with x to the right and y up. `reach` returns the elbows and hands.

    Attributes:
        size: size relative to a person of 1.75 m.
        hanging: positions of both hands when the arms hang down.
    """

    size: float
    head: Point
    neck: Point
    chest: Point
    pelvis: Point
    shoulders: tuple[Point, Point]
    hips: tuple[Point, Point]
    knees: tuple[Point, Point]
    feet: tuple[Point, Point]
    hanging: tuple[Point, Point]


def skeleton(actor: Actor, stance: Stance) -> Skeleton:
    """Compute the joints of an actor in a stance."""
    size = actor.height / _AVERAGE_M * stance.scale

    def place(dx: float, dy: float) -> Point:
        return stance.x + dx, stance.up + dy

    pelvis = place(*stance.pelvis)
    lean = np.deg2rad(stance.lean)
    along = np.array([np.sin(lean), np.cos(lean)])
    across = np.array([along[1], -along[0]])
    spread = 1 - 0.45 * abs(stance.body_yaw) if abs(stance.lean) < 45 else 0.3
    neck = np.array(pelvis) + along * _SPINE * size
    head = neck + along * (_NECK + _HEAD * 0.75) * size
    head = head + np.array([0.02 * stance.head_yaw * size, 0.01 * stance.pitch])
    shoulders = [neck + across * s * _SHOULDER * size * spread * actor.build for s in (-1, 1)]
    hips = [np.array(pelvis) + across * s * _HIP * size * spread for s in (-1, 1)]
    feet = tuple(place(*foot) for foot in stance.feet)
    bend = 1 if stance.body_yaw >= 0 else -1
    knees = [
        _bend(to_point(h), f, _THIGH * size, _SHIN * size, bend)
        for h, f in zip(hips, feet, strict=True)
    ]
    arm = (_UPPER_ARM + _FOREARM) * size * 0.96
    down = np.array([0.0, -1.0]) if abs(stance.lean) < 45 else -along * 0.9 + np.array([0, -0.12])
    hanging = [s + down * arm + across * k * 0.05 for s, k in zip(shoulders, (-1, 1), strict=True)]
    return Skeleton(
        size=size,
        head=to_point(head),
        neck=to_point(neck),
        chest=to_point(neck - along * 0.2 * size),
        pelvis=pelvis,
        shoulders=_two(shoulders),
        hips=_two(hips),
        knees=(knees[0], knees[1]),
        feet=(feet[0], feet[1]),
        hanging=_two(hanging),
    )


def reach(bones: Skeleton, arm: int, target: Point, yaw: float) -> tuple[Point, Point]:
    """Return (elbow, hand) of an arm that reaches for a target.

    Args:
        bones: joints of the person.
        arm: 0 for the arm at the left of the frame, 1 for the other arm.
        target: position in metres. The hand stops at the length of the arm.
        yaw: direction of the body, which determines the direction in which the elbow bends.
    """
    shoulder = np.array(bones.shoulders[arm])
    upper, fore = _UPPER_ARM * bones.size, _FOREARM * bones.size
    way = np.array(target) - shoulder
    length = max(float(np.hypot(*way)), 1e-6)
    hand = to_point(shoulder + way * min(1.0, 0.99 * (upper + fore) / length))
    bend = -1 if (yaw if abs(yaw) > 0.3 else arm * 2 - 1) >= 0 else 1
    return _bend(to_point(shoulder), hand, upper, fore, bend), hand


class Figure:
    """Person that is drawn part by part, so that objects can be drawn in between."""

    def __init__(
        self,
        canvas: Canvas,
        actor: Actor,
        bones: Skeleton,
        stance: Stance,
        to_pixels: Callable[[Point], Point],
        pixels_per_m: float,
    ) -> None:
        self.canvas, self.actor, self.bones, self.stance = canvas, actor, bones, stance
        self.to_pixels = to_pixels
        self.unit = pixels_per_m * bones.size

    def legs(self) -> None:
        """Draw both legs and shoes, the far leg first."""
        order = (1, 0) if self.stance.body_yaw >= 0 else (0, 1)
        for rank, i in enumerate(order):
            gain = 0.8 if rank == 0 else 1.0
            hip, knee, foot = self.bones.hips[i], self.bones.knees[i], self.bones.feet[i]
            ankle = _along(foot, knee, 0.06)
            covered = _along(knee, ankle, max(self.actor.legs - 0.5, 0.0) * 2)
            self._limb(knee, ankle, 0.095, shade(self.actor.skin, gain))
            self._limb(hip, knee, 0.155, shade(self.actor.trousers, gain))
            self._limb(knee, covered, 0.125, shade(self.actor.trousers, gain))
            toe = (foot[0] + 0.12 * np.clip(self.stance.body_yaw * 1.6, -1, 1), foot[1] + 0.03)
            self._limb((foot[0], foot[1] + 0.04), toe, 0.085, shade(self.actor.shoes, gain))

    def torso(self) -> None:
        """Draw the chest, hips and neck."""
        left, right = self.bones.shoulders
        low_left, low_right = self.bones.hips
        wide = 0.05 * self.bones.size * self.actor.build
        across = np.array(right) - np.array(left)
        across = across / max(float(np.hypot(*across)), 1e-6)
        points = [
            np.array(left) - across * wide * 0.6,
            np.array(right) + across * wide * 0.6,
            np.array(low_right) + across * wide,
            np.array(low_left) - across * wide,
        ]
        pixels = np.array([self.to_pixels(to_point(p)) for p in points])
        shirt = self.actor.shirt
        self.canvas.polygon(pixels, shirt, PERSON_MARK)
        self._limb(left, right, 0.1, shirt)
        self._limb(low_left, low_right, 0.14, self.actor.trousers)
        if self.actor.stripes:
            for share in (0.25, 0.5, 0.75):
                a = to_point(pixels[0] + share * (pixels[3] - pixels[0]))
                b = to_point(pixels[1] + share * (pixels[2] - pixels[1]))
                self.canvas.limb(a, b, 0.035 * self.unit, shade(shirt, 0.6), PERSON_MARK)
        self._limb(self.bones.neck, self.bones.head, 0.09, shade(self.actor.skin, 0.9))

    def head(self) -> None:
        """Draw the head, the hair and a face that shows the direction of the gaze."""
        x, y = self.to_pixels(self.bones.head)
        r = _HEAD * self.unit
        yaw, pitch, actor = self.stance.head_yaw, self.stance.pitch, self.actor
        if actor.hair_style == "long":
            back = (x - 0.3 * yaw * r, y + 0.5 * r)
            self.canvas.ellipse(back, (0.95 * r, 1.2 * r), actor.hair, PERSON_MARK)
        if actor.hair_style == "bun":
            knot = (x - 0.5 * yaw * r, y - 1.0 * r)
            self.canvas.ellipse(knot, (0.4 * r, 0.4 * r), actor.hair, PERSON_MARK)
        if actor.hair_style != "bald":
            top = (x - 0.22 * yaw * r, y - 0.2 * r)
            self.canvas.ellipse(top, (1.02 * r, 1.0 * r), actor.hair, PERSON_MARK)
        face = (x + 0.12 * yaw * r, y + 0.1 * r)
        self.canvas.ellipse(face, (0.84 * r, r), actor.skin, PERSON_MARK)
        lift = y - 0.05 * r - 0.42 * pitch * r
        middle = x + 0.55 * yaw * r
        dark = (30, 24, 24)
        for k in (-1, 1):
            eye = middle + k * 0.34 * r * (1 - 0.4 * abs(yaw))
            if self.stance.eyes > 0.5:
                self.canvas.ellipse((eye, lift), (0.17 * r, 0.15 * r), (245, 245, 245))
                pupil = (eye + 0.06 * yaw * r, lift - 0.05 * pitch * r)
                self.canvas.ellipse(pupil, (0.1 * r, 0.12 * r), dark)
            else:
                self.canvas.limb((eye - 0.13 * r, lift), (eye + 0.13 * r, lift), 0.09 * r, dark)
        nose = (middle + 0.3 * yaw * r, lift + 0.3 * r)
        self.canvas.ellipse(nose, (0.13 * r, 0.12 * r), shade(actor.skin, 0.82))
        mouth = middle - 0.2 * r, lift + 0.6 * r
        self.canvas.limb(mouth, (mouth[0] + 0.4 * r, mouth[1]), 0.09 * r, (150, 60, 60))

    def head_box(self) -> tuple[float, float, float, float]:
        """Return the box of the face and the short hair, xyxy in pixels."""
        x, y = self.to_pixels(self.bones.head)
        r = _HEAD * self.unit
        return x - 1.02 * r, y - 1.2 * r, x + 1.02 * r, y + 1.1 * r

    def arm(self, which: int, elbow: Point, hand: Point) -> None:
        """Draw one arm and its hand."""
        shoulder, actor = self.bones.shoulders[which], self.actor
        far = which == (1 if self.stance.body_yaw >= 0 else 0) and abs(self.stance.body_yaw) > 0.3
        gain = 0.82 if far else 0.94
        cut = min(actor.sleeves * 2, 1.0)
        self._limb(shoulder, elbow, 0.08, shade(actor.skin, gain))
        self._limb(elbow, hand, 0.07, shade(actor.skin, gain))
        self._limb(shoulder, _along(shoulder, elbow, cut), 0.1, shade(actor.shirt, gain))
        if actor.sleeves > 0.5:
            self._limb(elbow, _along(elbow, hand, 0.85), 0.085, shade(actor.shirt, gain))
        radii = (0.05 * self.unit, 0.05 * self.unit)
        self.canvas.ellipse(self.to_pixels(hand), radii, shade(actor.skin, 1.04), PERSON_MARK)

    def _limb(self, a: Point, b: Point, width: float, colour: tuple[int, int, int]) -> None:
        wide = width * self.unit * (1 + 0.5 * (self.actor.build - 1))
        self.canvas.limb(self.to_pixels(a), self.to_pixels(b), wide, colour, PERSON_MARK)


def _bend(start: Point, end: Point, first: float, second: float, sign: int) -> Point:
    """Return the joint between two bones from `start` to `end`. `sign` selects its side."""
    way = np.array(end) - np.array(start)
    length = min(max(float(np.hypot(*way)), 1e-6), first + second)
    along = (first**2 - second**2 + length**2) / (2 * length)
    out = max(first**2 - along**2, 0.0) ** 0.5
    unit = way / max(float(np.hypot(*way)), 1e-6)
    aside = np.array([-unit[1], unit[0]])
    return to_point(np.array(start) + unit * along + aside * out * sign)


def _along(a: Point, b: Point, share: float) -> Point:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])


def _two(arrays: list[np.ndarray]) -> tuple[Point, Point]:
    return to_point(arrays[0]), to_point(arrays[1])
