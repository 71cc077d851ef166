"""A person in a pose: joints from where the hips and hands are, then limbs."""

from dataclasses import dataclass

import cv2
import numpy as np

from tools.world.script import Look

Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """Joints in units of the frame's height, x to the right, y down.

    Attributes:
        head: centre; head_radius: of the head.
        neck, hip: ends of the spine.
        hands: of both arms; elbows likewise.
        feet: of both legs; knees likewise.
    """

    head: Point
    head_radius: float
    neck: Point
    hip: Point
    hands: tuple[Point, Point]
    elbows: tuple[Point, Point]
    feet: tuple[Point, Point]
    knees: tuple[Point, Point]

    def points(self) -> np.ndarray:
        """(11, 2) joints."""
        joints = (self.neck, self.hip, *self.hands, *self.elbows, *self.feet, *self.knees)
        return np.array([self.head, *joints])


FLOOR_Y = 0.94


def make_pose(look: Look, x: float, sitting: float, targets: tuple[Point | None, ...]) -> Pose:
    """Stand or sit, hands at their targets as far as the arms reach.

    Args:
        look: the actor's height is read.
        x: of the hips.
        sitting: 0 upright, 1 seated.
        targets: where each hand should be, or None to hang.
    """
    tall = look.height
    leg, spine, arm = 0.46 * tall, 0.34 * tall, 0.36 * tall
    hip = (x, FLOOR_Y - leg * (1 - 0.45 * sitting))
    neck = (x - 0.02 * look.side * sitting, hip[1] - spine)
    head = (neck[0], neck[1] - 0.11 * tall)
    hands, elbows, feet, knees = [], [], [], []
    for i, sign in enumerate((-1, 1)):
        shoulder = (neck[0] + sign * 0.07 * tall, neck[1] + 0.03 * tall)
        wanted = targets[i] or (shoulder[0] + sign * 0.03, shoulder[1] + 0.95 * arm)
        hand = _reach(shoulder, wanted, arm)
        hands.append(hand)
        elbows.append(_bend(shoulder, hand, arm / 2, sign))
        foot = (x + sign * 0.06 * tall + 0.14 * look.side * sitting, FLOOR_Y)
        feet.append(foot)
        knees.append(_bend(hip, foot, leg / 2, look.side))
    return Pose(head, 0.075 * tall, neck, hip, _two(hands), _two(elbows), _two(feet), _two(knees))


def draw_figure(image: np.ndarray, pose: Pose, look: Look) -> np.ndarray:
    """Draw in place; returns the person's box, xyxy in pixels, not clipped."""
    unit = image.shape[0]
    thick = max(int(0.075 * look.height * unit), 2)

    def line(a: Point, b: Point, colour: tuple[int, int, int], width: int) -> None:
        cv2.line(image, _pixel(a, unit), _pixel(b, unit), colour, width, cv2.LINE_AA)

    for i in (0, 1):
        line(pose.hip, pose.knees[i], look.trousers, thick)
        line(pose.knees[i], pose.feet[i], look.trousers, thick)
    line(pose.neck, pose.hip, look.shirt, 2 * thick)
    for i in (0, 1):
        line(pose.neck, pose.elbows[i], look.shirt, thick)
        line(pose.elbows[i], pose.hands[i], look.skin, max(thick // 2, 1))
    radius = int(pose.head_radius * unit)
    cv2.circle(image, _pixel(pose.head, unit), radius, look.skin, -1, cv2.LINE_AA)
    points = pose.points() * unit
    margin = thick / 2
    low, high = points.min(0) - margin, points.max(0) + margin
    low[1] = min(low[1], (pose.head[1] - pose.head_radius) * unit)
    return np.array([*low, *high])


def _reach(shoulder: Point, wanted: Point, arm: float) -> Point:
    dx, dy = wanted[0] - shoulder[0], wanted[1] - shoulder[1]
    share = min(1.0, arm / max(float(np.hypot(dx, dy)), 1e-6))
    return shoulder[0] + share * dx, shoulder[1] + share * dy


def _bend(start: Point, end: Point, half: float, sign: int) -> Point:
    """Middle joint of a limb of two equal halves."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max(float(np.hypot(dx, dy)), 1e-6)
    out = max(half**2 - (length / 2) ** 2, 0.0) ** 0.5 * sign
    return (start[0] + end[0]) / 2 + out * dy / length, (start[1] + end[1]) / 2 - out * dx / length


def _two(points: list[Point]) -> tuple[Point, Point]:
    return points[0], points[1]


def _pixel(point: Point, unit: int) -> tuple[int, int]:
    return round(point[0] * unit), round(point[1] * unit)
