"""Random scripts of videos."""

from dataclasses import replace

import numpy as np
from numpy.random import Generator

from tools.world import rules as household
from tools.world.cad120.performance import ItemState, Performer, inside_place
from tools.world.cad120.play import Play
from tools.world.cad120.rules import MICROWAVE, Activity, Rules
from tools.world.cad120.script import Script, World
from tools.world.cad120.table import (
    MICROWAVE_X,
    ROWS,
    Item,
    free_places,
    item_centre,
    reachable_places,
)
from tools.world.canvas import Point, to_point
from tools.world.cast import actor
from tools.world.looks import draw_look, draw_room
from tools.world.script import Room, Settings
from tools.world.sprites import Colour

RATES = (15, 30)
_LEAST_OBJECTS, _MOST_OBJECTS = 3, 5
#: Probability that a hand rests in the lap, and that an object with a lid is open from the start.
_LAP, _OPEN = 0.38, 0.2
#: Height of all persons in metres, and scale of the camera as a share of the width of the frame.
_HEIGHT_M, _PIXELS_PER_M = 1.75, 0.64
#: Position of the first video in the cycle of the activities, and distance between consecutive
#: videos of a subject. The distance is the golden ratio, so that any number of videos has nearly
#: the right frequencies. With this first position, one video per subject has nine of ten actions.
_FIRST, _TURN = 0.2, 0.6180339887


def write_script(rules: Rules, world: World, subject: str, index: int) -> Script:
    """Generate the random script of a video.

    The same arguments always generate the same script.

    Args:
        rules: contents of configs/world/cad120.yaml.
        world: settings of the world.
        subject: name of the subject.
        index: number of the video of the subject.
    """
    fold = [*rules.subjects].index(subject)
    key = (world.seed, 120, fold, index)
    rng = np.random.default_rng(key)
    activity = _activity(rules, fold, index)
    side = int(rng.choice([-1, 1]))
    roles = {role: str(rng.choice(of)) for role, of in activity.roles.items()}
    names = _objects(rng, activity, roles)
    items = _items(rules, rng, names, side)
    states = _arrange(rules, rng, activity, roles, items, side)
    rate = int(rng.choice(RATES))
    uses_lap = (bool(rng.random() < _LAP), bool(rng.random() < _LAP))
    performer = Performer(items, states, uses_lap, rate, rng)
    rows = {role: row for row, role in enumerate(roles)}
    hand = int(side > 0) if MICROWAVE in roles.values() else None
    spans = Play(rules, performer, activity, rows, hand).play()
    return Script(
        subject=subject,
        activity=activity.name,
        video_id=_video_id(world.seed, fold, index),
        key=key,
        rate=rate,
        actor=replace(actor(rules.subjects[subject]), height=_HEIGHT_M),
        size=world.size,
        room=_room(rules, world, rng),
        table=_wood(rng),
        items=items,
        frames=tuple(performer.frames),
        spans=tuple(spans),
        events=tuple(performer.events),
    )


def _activity(rules: Rules, fold: int, index: int) -> Activity:
    """Return the activity of a video, such that each subject performs all of them in turn."""
    weights = np.array([activity.videos for activity in rules.activities])
    edges = np.cumsum(weights) / weights.sum()
    share = (_FIRST + fold / len(rules.subjects) + index * _TURN) % 1
    return rules.activities[int(np.searchsorted(edges, share))]


def _objects(rng: Generator, activity: Activity, roles: dict[str, str]) -> list[str]:
    """Return the class of each object: the roles in order, then other objects."""
    names = [*roles.values()]
    num = int(rng.integers(_LEAST_OBJECTS, _MOST_OBJECTS + 1))
    others = [*activity.others]
    while len(names) < num and others:
        names.append(others.pop(int(rng.integers(len(others)))))
    return names


def _items(rules: Rules, rng: Generator, names: list[str], side: int) -> tuple[Item, ...]:
    items = []
    for row, name in enumerate(names):
        look = draw_look(rng)
        if name == MICROWAVE:
            look = replace(look, scale=1.0)
        width, height = (look.scale * v for v in rules.shape(name).size)
        number = 1 + names[:row].count(name)
        flip = side > 0 if name == MICROWAVE else bool(rng.random() < 0.5)
        items.append(Item(f"{name}_{number}", name, look, flip, rules.tilts[name], (width, height)))
    return tuple(items)


def _arrange(
    rules: Rules,
    rng: Generator,
    activity: Activity,
    roles: dict[str, str],
    items: tuple[Item, ...],
    side: int,
) -> list[ItemState]:
    """Return the first state of all objects, at random places that the acting hand reaches."""
    states = [ItemState((0.0, 0.0))] * len(items)
    ovens = [row for row, item in enumerate(items) if item.object == MICROWAVE]
    microwave: Point | None = None
    for row in ovens:
        microwave = (MICROWAVE_X * side, ROWS[0] + items[row].size[1] / 2)
        states[row] = ItemState(microwave)
    inside = [*roles].index(activity.inside) if activity.inside else None
    taken: list[Point] = []
    for row, item in enumerate(items):
        if row in ovens:
            continue
        if row == inside:
            centre = inside_place(items, states, row)
            states[row] = ItemState(to_point(centre), inside=True)
            continue
        hands = (int(side > 0),) if MICROWAVE in roles.values() else (0, 1)
        if row < len(roles):
            places = reachable_places(rules, item, hands, taken, microwave)
        else:
            places = free_places(rules, taken, microwave)
        place = places[int(rng.integers(len(places)))]
        taken.append(place)
        shut = item.object in rules.attributes.of
        is_open = bool(shut and rng.random() < _OPEN and not _is_opened(activity, roles, row))
        centre = item_centre(item, place)
        states[row] = ItemState(to_point(centre), openness=float(is_open), is_open=is_open)
    return states


def _is_opened(activity: Activity, roles: dict[str, str], row: int) -> bool:
    """Return whether a step of the activity opens an object."""
    role = [*roles][row] if row < len(roles) else None
    return any(step.role == role and step.action == "open" for step in activity.steps)


def _room(rules: Rules, world: World, rng: Generator) -> Room:
    scenes = {scene.name: scene for scene in household.load_rules().scenes}
    scene = scenes[str(rng.choice(rules.rooms))]
    drawn = draw_room(scene, Settings(long_side=world.long_side), "train", rng, False)
    scale = world.long_side * _PIXELS_PER_M * float(rng.uniform(0.96, 1.0))
    return replace(drawn, pixels_per_m=scale, shake=0.0, noise=0.0, pan=0.0)


def _wood(rng: Generator) -> Colour:
    r, g, b = np.array((150, 112, 76)) * rng.uniform(0.7, 1.35) + rng.integers(-12, 13, 3)
    return min(int(r), 255), min(int(g), 255), min(int(b), 255)


def _video_id(seed: int, fold: int, index: int) -> str:
    """Return a unique id of ten digits."""
    number = 1_204_150_645 + (4 * index + fold) * 736_878_701 + seed * 104_729
    return f"{number % 10**10:010d}"
