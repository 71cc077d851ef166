"""Random colours, rooms, clutter and encodings of videos."""

import colorsys

import numpy as np

from tools.world.layout import TABLE_REACH, WALL_BASE, table_top
from tools.world.rules import Rules, SceneRule
from tools.world.script import Film, Prop, Room, Settings, Thread
from tools.world.sprites import TEXTURES, Colour, Look

_RATES = ((24, 1), (25, 1), (30, 1), (30000, 1001), (24000, 1001))
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_DIGITS = "0123456789" + _LETTERS
_PIXELS_PER_M, _UPRIGHT_PIXELS_PER_M = 0.238, 0.235  # as shares of the long side
_PATTERNS = ("plain", "stripes", "tiles", "bricks", "panels")
_FLOORS = ("planks", "checks", "tiles", "plain")


def video_id(seed: int, split: int, index: int) -> str:
    """Return a unique id of one letter and four letters or digits, as in Charades."""
    number = (2 * index + split) * 7_368_787 + seed * 104_729
    number %= len(_LETTERS) * len(_DIGITS) ** 4
    text = ""
    for _ in range(4):
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return _LETTERS[number] + text


def draw_look(rng: np.random.Generator) -> Look:
    """Generate a random appearance of an object instance."""
    hue, other = rng.random(2)
    return Look(
        main=_colour(360 * hue, rng.uniform(0.35, 0.95), rng.uniform(0.4, 0.95)),
        second=_colour(360 * other, rng.uniform(0.2, 0.9), rng.uniform(0.5, 1.0)),
        texture=str(rng.choice(TEXTURES)),
        scale=float(rng.uniform(0.86, 1.16)),
        seed=int(rng.integers(2**31)),
    )


def draw_room(
    scene: SceneRule, settings: Settings, split: str, rng: np.random.Generator, upright: bool
) -> Room:
    """Generate a random room.

    `settings.shift` controls how much the room depends on its scene.
    """
    own = min(settings.shift, 1.0)
    drift = max(settings.shift - 1.0, 0.0) if split == "test" else 0.0
    common = rng.uniform([0, 0.05, 0.55, 0, 0.05, 0.35], [360, 0.4, 0.95, 360, 0.5, 0.7])
    light = rng.uniform(0.85, 1.12, 3)
    patterned = rng.random(2) < own
    walls = (scene.wall_pattern, str(rng.choice(_PATTERNS)))
    floors = (scene.floor_pattern, str(rng.choice(_FLOORS)))
    share = _UPRIGHT_PIXELS_PER_M if upright else _PIXELS_PER_M
    zoom = 1 + own * (scene.zoom - 1) + 0.15 * drift
    light_from = scene.light_from if rng.random() < own else -scene.light_from
    mixed = _mix(np.array(scene.light), light, own) * (1 - 0.25 * drift)
    return Room(
        wall=_palette(scene.wall, common[:3], own, drift, rng),
        wall_pattern=walls[0] if patterned[0] else walls[1],
        floor=_palette(scene.floor, common[3:], own, drift, rng),
        floor_pattern=floors[0] if patterned[1] else floors[1],
        light=(float(mixed[0]), float(mixed[1]), float(mixed[2])),
        light_from=light_from,
        pixels_per_m=settings.long_side * share * zoom * float(rng.uniform(0.97, 1.03)),
        floor_line=float(_mix(np.array([scene.floor_line]), np.array([0.4]), own)[0]),
        pan=float(rng.uniform(-0.06, 0.06)),
        shake=float(rng.choice([0.0, 0.0, 1.5, 3.0])),
        noise=float(rng.uniform(1.5, 4.5)),
        decor=scene.decor if own > 0.5 else scene.decor[: int(rng.integers(2))],
        decor_look=draw_look(rng),
    )


def draw_film(rng: np.random.Generator) -> Film:
    """Generate the random encoding of a video.

    One video in eight has an irregular frame rate, and one in eight has an edit list.
    """
    timing = str(rng.choice(["constant", "dropped", "halved"], p=[0.876, 0.062, 0.062]))
    hidden = int(rng.integers(5, 15)) if rng.random() < 0.125 else 0
    rate = _RATES[int(rng.integers(len(_RATES)))]
    return Film(rate, timing, hidden, int(rng.integers(0, 4)), int(rng.integers(21, 28)))


def draw_props(
    rules: Rules,
    scene: SceneRule,
    threads: tuple[Thread, ...],
    rng: np.random.Generator,
    upright: bool,
) -> tuple[Prop, ...]:
    """Generate tables below objects, doors behind doorknobs, and clutter in free places."""
    props: list[Prop] = []
    for thread in threads:
        if rules.objects[thread.object].spot != "surface" or thread.place[1] > 1.4:
            continue
        x = thread.place[0] + TABLE_REACH * (1 if thread.place[0] > 0 else -1)
        held = any(t.object == "shelf" and abs(t.place[0] - x) < 0.5 for t in threads)
        tables = [t.place[0] for t in threads if t.object == "table"]
        tables += [p.place[0] for p in props if p.object == "table"]
        if not held and all(abs(x - other) > 0.5 for other in tables):
            height = rules.objects["table"].shape.size[1]
            props.append(Prop("table", draw_look(rng), (x, WALL_BASE + height / 2), False))
    props += [_door_of(rules, t, rng) for t in threads if t.object == "doorknob"]
    used = {t.object for t in threads} | {p.object for p in props if p.object == "door"}
    edge = 1.1 if upright else 1.75
    for name in scene.clutter:
        if name in used or rng.random() < 0.35:
            continue
        place = _free_place(rules, name, threads, props, float(rng.uniform(-edge, edge)))
        if place is not None:
            look = draw_look(rng)
            props.append(Prop(name, look, place, bool(rng.random() < 0.5)))
    return tuple(props)


def _door_of(rules: Rules, knob: Thread, rng: np.random.Generator) -> Prop:
    """Generate the door of a doorknob."""
    door = rules.objects["door"]
    width, height = door.shape.size
    aside = (0.5 - door.grip[0]) * width * (-1 if knob.flip else 1)
    return Prop("door", draw_look(rng), (knob.place[0] + aside, WALL_BASE + height / 2), knob.flip)


def _free_place(
    rules: Rules, name: str, threads: tuple[Thread, ...], props: list[Prop], x: float
) -> tuple[float, float] | None:
    rule = rules.objects[name]
    width, height = rule.shape.size
    match rule.spot:
        case "wall" | "ceiling":
            place = (x, rule.level + 0.12)
        case "ground":
            place = (x, WALL_BASE + height / 2)
        case _:
            tops = [p.place[0] for p in props if p.object == "table"]
            tops += [
                t.place[0] for t in threads if t.object == "table" and "sat_on" not in t.states
            ]
            if not tops:
                return None
            place = (tops[0] + 0.3 * (1 if tops[0] > 0 else -1), table_top(rules) + height / 2)
    others: list[Thread | Prop] = [*threads, *props]
    for other in others:
        size = rules.objects[other.object].shape.size
        if other.object == "floor" or (rule.spot == "surface" and other.object == "table"):
            continue
        if abs(other.place[0] - place[0]) < 0.55 * (size[0] + width) and abs(
            other.place[1] - place[1]
        ) < 0.55 * (size[1] + height):
            return None
    return place


def _palette(
    own: tuple[float, float, float],
    common: np.ndarray,
    share: float,
    drift: float,
    rng: np.random.Generator,
) -> Colour:
    jitter = rng.normal(0, [8, 0.03, 0.03])
    mixed = _mix(np.array(own), common, share) + jitter
    return _colour(float(mixed[0]) + 180 * drift, float(mixed[1]), float(mixed[2]))


def _mix(own: np.ndarray, common: np.ndarray, share: float) -> np.ndarray:
    mixed: np.ndarray = share * own + (1 - share) * common
    return mixed


def _colour(hue: float, saturation: float, value: float) -> Colour:
    s, v = (min(max(x, 0.0), 1.0) for x in (saturation, value))
    r, g, b = (round(255 * c) for c in colorsys.hsv_to_rgb(hue % 360 / 360, s, v))
    return r, g, b
