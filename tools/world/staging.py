"""State of the person and of all objects at one time of a script."""

from dataclasses import dataclass

import numpy as np

from tools.world.canvas import Point, to_point
from tools.world.figure import Skeleton, Stance, reach, skeleton
from tools.world.motion import (
    Track,
    blend_at,
    depth_scale,
    ease,
    gaze_track,
    place_track,
    pose_track,
)
from tools.world.rules import ObjectRule, Rules, State
from tools.world.script import Script, Thread

_WIND_UP = 0.1
_ON_BODY = ("body", "feet", "back")


@dataclass(frozen=True)
class Placed:
    """Position and appearance of an object at one time.

    Attributes:
        centre: position in metres.
        angle: rotation in degrees.
        grow: size relative to the normal size of the object.
        openness: 0 (shut) to 1 (open).
        layer: `rest` (behind the person), `back` (directly behind the body) or `front`.
        flip: whether the object is mirrored.
    """

    centre: Point
    angle: float
    grow: float
    openness: float
    layer: str
    flip: bool


@dataclass(frozen=True)
class Scene:
    """State of a script at one time.

    Attributes:
        stance: position and posture of the person.
        bones: joints of the person.
        arms: (elbow, hand) of both arms.
        objects: objects of `Script.threads`, in the same order.
        light: gain of the light.
    """

    stance: Stance
    bones: Skeleton
    arms: tuple[tuple[Point, Point], tuple[Point, Point]]
    objects: tuple[Placed, ...]
    light: float


class Stage:
    """Animation of the person and the objects of a script."""

    def __init__(self, rules: Rules, script: Script) -> None:
        self.rules, self.script = rules, script
        self.place: Track = place_track(script)
        self.gaze: Track = gaze_track(rules, script)
        self.pose: Track = pose_track(rules, script)

    def at(self, time_s: float) -> Scene:
        """Return the state of the person and of all objects at a time."""
        stance = self._stance(time_s)
        bones = skeleton(self.script.actor, stance)
        hands = [np.array(p) for p in bones.hanging]
        claims = [0.0, 0.0]
        holds = [_Hold(self, thread, time_s, stance, bones) for thread in self.script.threads]
        placed = [hold.placed() for hold in holds]
        for hold in holds:
            which = hold.thread.hand
            if hold.claim > claims[which]:
                claims[which], hands[which] = hold.claim, hold.hand()
        for hold, item in zip(holds, placed, strict=True):
            other, share = 1 - hold.thread.hand, hold.both
            if share > 0 and claims[other] == 0:
                aside = 0.09 * (1 if other else -1)
                goal = np.array(item.centre) + np.array([aside, -0.05])
                hands[other] = _mix(hands[other], goal, share)
        arms = [reach(bones, i, to_point(hands[i]), stance.body_yaw) for i in (0, 1)]
        objects = tuple(placed)
        return Scene(stance, bones, (arms[0], arms[1]), objects, self._light(objects))

    def _stance(self, time_s: float) -> Stance:
        script, actor = self.script, self.script.actor
        x, depth = self.place.at(time_s)
        body, head, pitch, eyes = self.gaze.at(time_s)
        pelvis_x, pelvis_y, lean, feet_x, feet_y, apart = self.pose.at(time_s)
        scale, rise = depth_scale(float(depth))
        size = actor.height / 1.75 * scale
        sway = actor.sway * np.sin(2 * np.pi * actor.sway_hz * time_s + script.index)
        step = 0.22 * np.sin(float(x) * np.pi / 0.42) * self._walking(time_s)
        standing = feet_y < 0.02 and abs(lean) < 30
        grown = size if standing else 1.0
        pelvis = (float(pelvis_x + sway) * size, float(pelvis_y) * grown)
        left, right = ((float(feet_x) + s * (float(apart) + step)) * size for s in (-1, 1))
        return Stance(
            x=float(x),
            up=rise,
            scale=scale,
            pelvis=pelvis,
            lean=float(lean),
            feet=((left, float(feet_y)), (right, float(feet_y))),
            body_yaw=float(body),
            head_yaw=float(head),
            pitch=float(pitch),
            eyes=float(eyes),
        )

    def _walking(self, time_s: float) -> float:
        """Return the strength of the walking motion, 0 (standing) to 1 (walking)."""
        before, after = (self.place.at(time_s + d)[0] for d in (-0.05, 0.05))
        return float(min(abs(after - before) / 0.06, 1.0))

    def _light(self, objects: tuple[Placed, ...]) -> float:
        """Return the gain of the switchable lamp, or 1 if the script has no such lamp."""
        things = zip(objects, self.script.threads, strict=True)
        lamps = [item.openness for item, thread in things if thread.object == "light"]
        return 0.74 + 0.26 * lamps[0] if lamps else 1.0


class _Hold:
    """Object of a thread and the hand that carries it, at one time."""

    def __init__(
        self, stage: Stage, thread: Thread, time_s: float, stance: Stance, bones: Skeleton
    ) -> None:
        self.stage, self.thread, self.stance, self.bones = stage, thread, stance, bones
        before, after, self.share = blend_at(thread, time_s, stage.script.change_s)
        self.before, self.after = stage.rules.states[before], stage.rules.states[after]
        self.rule: ObjectRule = stage.rules.objects[thread.object]
        self.time_s = time_s
        self.rest = np.array(thread.place)

    @property
    def claim(self) -> float:
        """Priority with which the object uses its hand, 0 to 1."""
        shares = (1 - ease(self.share), ease(self.share))
        pairs = zip((self.before, self.after), shares, strict=True)
        return max((s for state, s in pairs if state.hand != "none"), default=0.0)

    @property
    def both(self) -> float:
        """Degree to which the second hand moves to the object, 0 to 1."""
        u = ease(self.share)
        return (self.before.hand == "both") * (1 - u) + (self.after.hand == "both") * u

    def hand(self) -> np.ndarray:
        """Return the position of the hand. The hand reaches the object before the object moves."""
        hanging = np.array(self.bones.hanging[self.thread.hand])
        first, last = self._goal(self.before), self._goal(self.after)
        if self.before.hand == "none":
            return self._reached(hanging, self._pick(self.before), last, self.share)
        if self.after.hand == "none":
            return self._reached(hanging, self._pick(self.after), first, 1 - self.share)
        return _mix(first, last, ease(self.share))

    def placed(self) -> Placed:
        """Return the position and appearance of the object."""
        u = ease(self.share)
        openness = _lerp(self.before.open, self.after.open, u)
        grow = _lerp(self.before.grow, self.after.grow, u)
        side = float(np.clip(1.6 * self.stance.body_yaw, -1, 1))
        angle = side * _lerp(self.before.angle, self.after.angle, u)
        centre = self._centre()
        state = self.before if self.share < 0.5 else self.after
        loose = state.hand in ("none", "touch") and state.at not in _ON_BODY
        layer = "rest" if loose else "back" if state.at == "back" else "front"
        if state.at == "floor":
            layer = "front"
        return Placed(to_point(centre), angle, grow, openness, layer, self.thread.flip)

    def _centre(self) -> np.ndarray:
        carried = [_is_carried(s) for s in (self.before, self.after)]
        if not any(carried) and self.before.at == self.after.at:
            return self._spot(self.before)
        if all(carried):
            return self.hand() - self._grip()
        if self.before.at in _ON_BODY and self.after.at in _ON_BODY:
            return self._spot(self.after)
        early = self.share < 0.5
        if (early and carried[0]) or (not early and carried[1]):
            return self.hand() - self._grip()
        loose = self.before if early else self.after
        if loose.at == "floor":
            start, end = self._goal(self.before if carried[0] else self.after), self._spot(loose)
            u = 2 * self.share - 1 if carried[0] else 1 - 2 * self.share
            arc = np.array([0.0, 0.5 * u * (1 - u)])
            return _mix(start - self._grip(), end, u) + arc
        return self._spot(loose)

    def _reached(
        self, hanging: np.ndarray, pick: np.ndarray, goal: np.ndarray, share: float
    ) -> np.ndarray:
        if share < 0.5:
            return _mix(hanging, pick, ease(2 * share))
        return _mix(pick, goal, ease(2 * share - 1))

    def _pick(self, state: State) -> np.ndarray:
        """Return the position at which the hand takes or releases the object.

        Args:
            state: state in which the hand does not hold the object.
        """
        if state.at == "floor":
            other = self.after if state is self.before else self.before
            side = 1 if self.stance.body_yaw >= 0 else -1
            return self._goal(other) + np.array([0.1 * side, _WIND_UP])
        return self._spot(state) + self._grip()

    def _goal(self, state: State) -> np.ndarray:
        """Return the position of the hand in a state."""
        if state.hand == "none":
            return np.array(self.bones.hanging[self.thread.hand])
        x, y, hertz = state.sway
        wave = np.sin(2 * np.pi * hertz * self.time_s)
        cross = np.cos(2 * np.pi * hertz * self.time_s)
        return self._anchor(state) + np.array([x * wave, y * cross])

    def _anchor(self, state: State) -> np.ndarray:
        side = float(np.clip(1.6 * self.stance.body_yaw, -1, 1))
        head, chest = np.array(self.bones.head), np.array(self.bones.chest)
        size, sign = self.bones.size, 1 if self.thread.hand else -1
        match state.at:
            case "rest":
                return self.rest + self._grip()
            case "chest":
                return chest + size * np.array([0.24 * side, -0.06])
            case "hip":
                return np.array(self.bones.hanging[self.thread.hand]) + np.array([0.07 * sign, 0.1])
            case "mouth":
                return head + size * np.array([0.1 * self.stance.head_yaw + 0.03 * sign, -0.1])
            case "ear":
                return head + size * np.array([0.14 * sign, -0.02])
            case "raised":
                return head + size * np.array([0.3 * side, 0.2])
            case "face":
                return head + size * np.array([0.14 * side, -0.18])
            case "sweep":
                return np.array(self.bones.pelvis) + size * np.array([0.34 * side, 0.12])
            case _:
                return self._companion(chest + size * np.array([0.36 * side, -0.2]))

    def _companion(self, default: np.ndarray) -> np.ndarray:
        """Return the position of the other object of the story, such as a washed object."""
        for other in self.stage.script.threads:
            if other.unit == self.thread.unit and other is not self.thread:
                top = self.stage.rules.objects[other.object]
                lift = 0.5 * top.shape.size[1] if top.name == "table" else 0.0
                near = other.place[0] - 0.12 * self.stage.script.units[other.unit].side
                return np.array([near, other.place[1] + lift])
        return default

    def _spot(self, state: State) -> np.ndarray:
        """Return the centre of the object in a state in which no hand carries it."""
        side = 1 if self.stance.body_yaw >= 0 else -1
        match state.at:
            case "body":
                return np.array(self.bones.chest) + np.array([0.0, -0.06])
            case "back":
                return np.array(self.bones.chest) + np.array([-0.2 * side, 0.0])
            case "feet":
                return np.array(self.bones.feet).mean(0) + np.array([0.06 * side, 0.06])
            case "floor":
                unit = self.stage.script.units[self.thread.unit]
                height = self.rule.shape.size[1] * self.thread.look.scale
                lying = min(height / 2, 0.3)
                return np.array([unit.station + 0.42 * unit.side, lying - 0.02])
            case _:
                return self.rest

    def _grip(self) -> np.ndarray:
        """Return the offset of the grip from the centre of the object."""
        x, y = self.rule.grip
        width, height = (v * self.thread.look.scale for v in self.rule.shape.size)
        x = 1 - x if self.thread.flip else x
        return np.array([(x - 0.5) * width, (0.5 - y) * height])


def _is_carried(state: State) -> bool:
    return state.hand in ("hold", "both") and state.at != "rest"


def _lerp(a: float, b: float, share: float) -> float:
    return a + share * (b - a)


def _mix(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    mixed: np.ndarray = a + share * (b - a)
    return mixed
