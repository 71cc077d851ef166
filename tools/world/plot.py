"""Random scripts of videos."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from tools.world.cast import NUM_TEST, NUM_TRAIN, Actor, actor
from tools.world.labels import find_actions, story_classes
from tools.world.layout import Slot, place_role, slots_for
from tools.world.looks import draw_film, draw_look, draw_props, draw_room, video_id
from tools.world.rules import Rules, Story
from tools.world.script import Script, Settings, Thread, Unit

_STEP_S, _POSTURE_STEP_S = 0.8, 1.2
_DRAWS, _TRIES = 12, 400
_LEAST_CLASSES, _MOST_CLASSES = 2, 9
_POSTURE_SHARE = 0.5
#: Poses in which the hands cannot reach an object.
_IDLE_POSES = {"lie"}
WALK = "walk_through"
SPLITS = ("train", "test")


class NoPlotError(ValueError):
    """Raised if no script satisfies the settings."""


@dataclass(frozen=True)
class _Frame:
    """Inputs of the random choices for one video."""

    rules: Rules
    settings: Settings
    rng: Generator
    length_s: float
    upright: bool
    repeats: bool


@dataclass(frozen=True)
class _Part:
    """Story with the objects that play its roles.

    Attributes:
        story: the story.
        objects: object class of each role.
        backwards: whether its steps run in reverse.
        turned: whether the person faces left in a posture story.
    """

    story: Story
    objects: dict[str, str]
    backwards: bool
    turned: bool

    @property
    def steps(self) -> list[dict[str, str]]:
        """State of each role, one dict per step."""
        return list(self.story.steps[::-1] if self.backwards else self.story.steps)

    @property
    def least_s(self) -> float:
        """Shortest duration in seconds."""
        return len(self.steps) * (_POSTURE_STEP_S if self.story.is_posture else _STEP_S)


def write_script(rules: Rules, settings: Settings, split: str, index: int) -> Script:
    """Generate the random script of a video.

    The same arguments always generate the same script. No actor appears in both splits.

    Args:
        rules: contents of configs/world/.
        settings: settings of the world.
        split: `train` or `test`.
        index: number of the video within its split.

    Raises:
        NoPlotError: if no script satisfies the settings, because the videos are too short or
            because too few classes are selected.
    """
    key = (settings.seed, SPLITS.index(split), index)
    rng = np.random.default_rng(key)
    least = 1 if settings.classes else _LEAST_CLASSES
    # No number is drawn without duplicates, so that all other draws stay the same.
    repeats = settings.duplicates > 0 and bool(rng.random() < settings.duplicates)
    for _ in range(_TRIES):
        script = _draw(rules, settings, key, rng, repeats=repeats)
        num = len({a.id for a in find_actions(rules, script, settings.classes)})
        names = [thread.object for thread in script.threads]
        if least <= num <= _MOST_CLASSES and (len(set(names)) < len(names) or not repeats):
            return script
    raise NoPlotError(
        f"{split} video {index}: none of {_TRIES} scripts of {settings.min_s} to "
        f"{settings.max_s} s has any of the classes "
        f"{', '.join(settings.classes) or 'of the world'}; allow longer videos or more classes"
    )


def _draw(
    rules: Rules, settings: Settings, key: tuple[int, int, int], rng: Generator, *, repeats: bool
) -> Script:
    split = SPLITS[key[1]]
    length_s = round(float(rng.uniform(settings.min_s, settings.max_s)), 2)
    upright = bool(rng.random() < 0.25)
    size = (settings.long_side * 9 // 16 // 2 * 2, settings.long_side)
    scene = rules.scenes[_weighted(rng, [s.weight for s in rules.scenes])]
    frame = _Frame(rules, settings, rng, length_s, upright, repeats)
    threads, units = _arrange(frame, _choose(frame))
    room = draw_room(scene, settings, split, rng, upright)
    props = draw_props(rules, scene, threads, rng, upright)
    return Script(
        video_id=video_id(*key),
        split=split,
        index=key[2],
        key=key,
        scene=scene.name,
        actor=_actor(settings, split, rng),
        length_s=length_s,
        size=size if upright else size[::-1],
        room=room,
        film=draw_film(rng),
        units=units,
        threads=threads,
        props=props,
    )


def _actor(settings: Settings, split: str, rng: Generator) -> Actor:
    """Return a random actor of the split, with random clothes with probability 1 - `shift`."""
    num_test = max(settings.actors * NUM_TEST // (NUM_TRAIN + NUM_TEST), 1)
    num = settings.actors - num_test if split == "train" else num_test
    who = actor(int(rng.integers(num)) + (0 if split == "train" else NUM_TRAIN))
    is_redressed = rng.random() >= settings.shift
    a, b, c, d, e, f = (int(v) for v in rng.integers(10, 245, (2, 3)).ravel())
    return replace(who, shirt=(a, b, c), trousers=(d, e, f)) if is_redressed else who


def _choose(frame: _Frame) -> list[_Part]:
    """Draw stories that fit into the length of the video and have objects of their own."""
    parts: list[_Part] = []
    if frame.rng.random() < _POSTURE_SHARE:
        parts += _pick(frame, parts, is_posture=True)
    for _ in range(_DRAWS):
        names = [name for part in parts for name in part.objects.values()]
        repeats = frame.repeats and len(set(names)) == len(names)
        twice = _surface_object(frame.rules, names) if repeats else None
        parts += _pick(frame, parts, is_posture=False, twice=twice)
        if frame.rng.random() < 0.03:
            break
    slots = _slots(parts, frame.upright)
    kept: list[_Part] = []
    for part in parts:
        free = len(slots) - sum(not p.story.is_posture for p in kept)
        if part.story.is_posture or (free > 0 and _fits(frame.rules, part, kept)):
            kept.append(part)
    return kept


def _surface_object(rules: Rules, names: list[str]) -> str | None:
    """Return the first class of an object that rests on a surface, or None."""
    return next((name for name in names if rules.objects[name].spot == "surface"), None)


def _pick(
    frame: _Frame, parts: list[_Part], *, is_posture: bool, twice: str | None = None
) -> list[_Part]:
    """Draw a story and its objects; `twice` is a used class that one of its roles repeats."""
    rules, rng = frame.rules, frame.rng
    stories = [s for s in rules.stories if s.is_posture == is_posture]
    if twice is not None:
        stories = [s for s in stories if any(twice in classes for classes in s.who.values())]
    story = stories[_weighted(rng, [s.weight for s in stories])]
    used = {name for part in parts for name in part.objects.values()} - {twice}
    objects: dict[str, str] = {}
    for role, classes in story.who.items():
        free = [c for c in classes if c not in used and c not in objects.values()]
        if not free:
            return []
        chosen = [twice] if twice in free else free
        objects[role] = chosen[_weighted(rng, [rules.objects[c].weight for c in chosen])]
    if story.name == WALK and frame.upright:
        return []
    backwards, turned = (bool(v) for v in rng.random(2) < 0.5)
    part = _Part(story, objects, backwards and not story.is_one_way, turned)
    wanted = set(frame.settings.classes)
    if wanted:
        told = [{objects[role]: state for role, state in step.items()} for step in part.steps]
        if not story_classes(rules, told) & wanted:
            return []
    left_s = frame.length_s - sum(part.least_s for part in parts)
    return [part] if part.least_s <= left_s else []


def _posture(parts: list[_Part]) -> _Part | None:
    return next((part for part in parts if part.story.is_posture), None)


def _hand_use(rules: Rules, part: _Part) -> bool:
    return any(rules.states[s].hand != "none" for step in part.steps for s in step.values())


def _fits(rules: Rules, part: _Part, kept: list[_Part]) -> bool:
    """Return whether a part can be combined with the kept parts.

    All parts together use at most two hands, and at most one part puts an object on the body. A
    seated person does not open or switch anything.
    """
    hands = sum(_hand_use(rules, p) for p in kept if not p.story.is_posture)
    if _hand_use(rules, part) and hands >= 2:
        return False
    places = {rules.states[s].at for step in part.steps for s in step.values()}
    taken = {rules.states[s].at for p in kept for step in p.steps for s in step.values()}
    if "body" in places & taken:
        return False
    posture = _posture(kept)
    if posture is None or posture.story.name == WALK:
        return True
    spots = {rules.objects[c].spot for c in part.objects.values()}
    return spots == {"surface"} or not _hand_use(rules, part) or part.story.name == "work_at_table"


def _order(rules: Rules, rng: Generator, parts: list[_Part]) -> list[_Part]:
    """Order the parts at random. No other story takes place while the person lies down."""
    order = [parts[i] for i in rng.permutation(len(parts))]
    posture = _posture(order)
    if posture is None:
        return order
    poses = [rules.states[next(iter(step.values()))].pose for step in posture.steps]
    others = [part for part in order if part is not posture]
    if posture.story.name == WALK and len(others) == 2:
        return [others[0], posture, others[1]]
    if poses[-1] in _IDLE_POSES:
        return [*others, posture]
    return [posture, *others] if poses[0] in _IDLE_POSES else order


def _arrange(frame: _Frame, parts: list[_Part]) -> tuple[tuple[Thread, ...], tuple[Unit, ...]]:
    rules, rng, length_s = frame.rules, frame.rng, frame.length_s
    order = _order(rules, rng, parts)
    posture = _posture(order)
    slots = _slots(parts, frame.upright)
    if posture is None or posture.story.name != WALK:
        slots = [slots[i] for i in rng.permutation(len(slots))]
    elif _home(posture).side < 0:
        slots.reverse()
    shares = rng.dirichlet(np.full(max(sum(len(p.steps) for p in order), 1), 2.0))
    slack = max(length_s - sum(p.least_s for p in order), 0.0)
    threads: list[Thread] = []
    units: list[Unit] = []
    clock, step, hands = 0.0, 0, [0, 1]
    for part in order:
        num = len(part.steps)
        times = part.least_s / num + slack * shares[step : step + num]
        if part.story.is_posture:
            slot, slots = _home(posture), slots if part.story.name != WALK else slots[-1:]
        else:
            slot = slots.pop(0)
        hand = 0 if slot.side < 0 else 1
        hand = hand if hand in hands else 1 - hand
        if not part.story.is_posture and _hand_use(rules, part):
            hands = [h for h in hands if h != hand]
        end = clock + float(times.sum())
        changes = (clock + np.cumsum(times)[:-1]).tolist()
        threads += _threads(frame, part, slot, changes, hand, len(units))
        units.append(_unit(part, slot, clock, end))
        clock, step = end, step + num
    if "floor" not in {t.object for t in threads} and rng.random() < 0.3 and posture is None:
        units.append(Unit("stand", False, True, 0.0, length_s, 0.0, 1))
        where = ((0.0, 0.0), 0, len(units) - 1, False)
        threads.append(Thread("floor", draw_look(rng), ("trodden",), (), *where))
    return tuple(threads), tuple(units)


def _slots(parts: list[_Part], upright: bool) -> list[Slot]:
    posture = _posture(parts)
    if posture is None:
        return slots_for("stand", upright, 1)
    if posture.story.name == WALK:
        return slots_for("walk", upright, 1)
    wide = {"sofa/couch", "bed"} & set(posture.objects.values())
    return slots_for("couch" if wide else "seat", upright, _home(posture).side)


def _home(posture: _Part | None) -> Slot:
    side = -1 if posture is not None and posture.turned else 1
    return Slot(0.0, 0.0, side)


def _unit(part: _Part, slot: Slot, start: float, end: float) -> Unit:
    story = part.story
    return Unit(story.name, part.backwards, story.is_posture, start, end, slot.station, slot.side)


def _threads(
    frame: _Frame, part: _Part, slot: Slot, changes: list[float], hand: int, unit: int
) -> list[Thread]:
    found = []
    for role, name in part.objects.items():
        look = draw_look(frame.rng)
        if frame.rules.objects[name].spot != "surface":
            look = replace(look, scale=1.0)
        place = place_role(frame.rules, name, role, part.objects, slot, look.scale)
        states = [step[role] for step in part.steps]
        kept = [i for i in range(1, len(states)) if states[i] != states[i - 1]]
        lasting = (states[0], *(states[i] for i in kept))
        moments = tuple(changes[i - 1] for i in kept)
        found.append(Thread(name, look, lasting, moments, place, hand, unit, slot.side < 0))
    return found


def _weighted(rng: Generator, weights: list[float]) -> int:
    shares = np.array(weights, np.float64)
    return int(rng.choice(len(shares), p=shares / shares.sum()))
