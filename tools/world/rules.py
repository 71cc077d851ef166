"""Validated states, objects, stories, actions and scenes of configs/world/."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from pipeline.datasets.vocabulary import Vocabulary, load_vocabulary

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "world"
SPOTS = ("surface", "ground", "wall", "ceiling", "floor")
HANDS = ("none", "hold", "both", "touch")
POSES = ("stand", "sit", "lie", "stand_on", "inside", "past")


@dataclass(frozen=True)
class State:
    """Relations between the person and an object, and their appearance.

    Attributes:
        name: name of the state.
        says: predicates that are true in the state.
        at: `rest`, `floor`, or the part of the person that carries the object.
        hand: one of `HANDS`.
        open: 0 (shut) to 1 (open).
        angle: rotation of the object towards the person's front in degrees.
        grow: size relative to the normal size of the object.
        sway: swing of the hand, as (metres sideways, metres up, frequency in hertz).
        pose: one of `POSES`, or None if the state does not set the posture.
    """

    name: str
    says: frozenset[str]
    at: str
    hand: str = "none"
    open: float = 0.0
    angle: float = 0.0
    grow: float = 1.0
    sway: tuple[float, float, float] = (0.0, 0.0, 1.0)
    pose: str | None = None

    @property
    def is_looked_at(self) -> bool:
        """Whether the person looks at the object."""
        return "looking_at" in self.says


@dataclass(frozen=True)
class Shape:
    """Drawing of an object, see configs/world/objects.yaml.

    Attributes:
        size: width and height in metres.
        parts: parts in the unit square, in painting order.
    """

    size: tuple[float, float]
    parts: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class ObjectRule:
    """Object class.

    Attributes:
        name: class name.
        shape: drawing of the object.
        spot: one of `SPOTS`.
        level: height of the centre above the floor in metres (`wall` and `ceiling`).
        seat: height of the seat in metres.
        grip: point of the unit square where a hand holds the object.
        weight: relative frequency among the classes that can play a role.
    """

    name: str
    shape: Shape
    spot: str
    level: float
    seat: float
    grip: tuple[float, float]
    weight: float


@dataclass(frozen=True)
class Story:
    """Sequence of steps. Each step defines the states of one to three roles.

    Attributes:
        name: name of the story.
        weight: relative frequency.
        who: object classes that can play each role.
        steps: one dict per step, from role to state name. Every step contains every role.
        is_posture: whether the person walks, sits or lies. A video has at most one such story.
        is_one_way: whether the story never runs in reverse.
    """

    name: str
    weight: float
    who: dict[str, tuple[str, ...]]
    steps: tuple[dict[str, str], ...]
    is_posture: bool
    is_one_way: bool


@dataclass(frozen=True)
class Condition:
    """Condition of an action.

    The condition is either a change (`before`, `after`) or a lasting relation (`during`).

    Attributes:
        of: object classes to which the condition applies, or empty for any class.
        before, after: predicates that are true before and after the change.
        during: predicates that stay true.
        also: predicates that are true of a second object before and after the change, by class of
            the second object.
    """

    of: tuple[str, ...]
    before: frozenset[str] = frozenset()
    after: frozenset[str] = frozenset()
    during: frozenset[str] = frozenset()
    also: dict[str, frozenset[str]] = field(default_factory=dict)

    def is_change(self) -> bool:
        """Return whether the condition is a change rather than a lasting relation."""
        return not self.during

    def matches(self, before: State, after: State) -> bool:
        """Return whether the step between two states satisfies the condition of a change."""
        return self.before <= before.says and self.after <= after.says


@dataclass(frozen=True)
class ActionRule:
    """Action class of Charades.

    Attributes:
        id: class id.
        name: description in words.
        object, verb: entries of Charades' mapping file.
        when: conditions of the action. The action occurs if one of them is satisfied.
        inverse: id of the class with the reversed change, or None.
    """

    id: str
    name: str
    object: str
    verb: str
    when: tuple[Condition, ...]
    inverse: str | None


@dataclass(frozen=True)
class SceneRule:
    """Appearance of a scene, see configs/world/scenes.yaml."""

    name: str
    weight: float
    wall: tuple[float, float, float]
    wall_pattern: str
    floor: tuple[float, float, float]
    floor_pattern: str
    light: tuple[float, float, float]
    light_from: int
    zoom: float
    floor_line: float
    decor: tuple[str, ...]
    clutter: tuple[str, ...]


@dataclass(frozen=True)
class Rules:
    """Contents of configs/world/.

    Raises:
        ValueError: if a state, object, story, action or scene uses an undefined name.
    """

    vocabulary: Vocabulary
    states: dict[str, State]
    objects: dict[str, ObjectRule]
    stories: tuple[Story, ...]
    actions: tuple[ActionRule, ...]
    verb_names: tuple[str, ...]
    object_names: tuple[str, ...]
    scenes: tuple[SceneRule, ...]
    decor: dict[str, tuple[tuple[float, float], Shape]]

    def __post_init__(self) -> None:
        known = set(self.vocabulary.predicates)
        for state in self.states.values():
            _expect(
                state.says <= known,
                f"state {state.name}: undefined predicates {sorted(state.says - known)}",
            )
            _expect(
                state.hand in HANDS and state.pose in {None, *POSES},
                f"state {state.name}: undefined hand or pose",
            )
        for rule in self.objects.values():
            _expect(rule.spot in SPOTS, f"object {rule.name}: undefined spot {rule.spot!r}")
        _expect(
            {*self.objects, "person"} == set(self.vocabulary.objects),
            "objects: exactly the classes of the vocabulary expected",
        )
        for story in self.stories:
            used = {c for classes in story.who.values() for c in classes}
            _expect(
                used <= set(self.objects),
                f"story {story.name}: undefined objects {used - set(self.objects)}",
            )
            for step in story.steps:
                _expect(
                    set(step) == set(story.who),
                    f"story {story.name}: missing or undefined role in {step}",
                )
                _expect(
                    set(step.values()) <= set(self.states),
                    f"story {story.name}: undefined state in {step}",
                )
        ids = [action.id for action in self.actions]
        _expect(ids == sorted(set(ids)), "actions: repeated or unordered ids")
        for action in self.actions:
            said = [{*c.before, *c.after, *c.during, *(p for s in c.also.values() for p in s)}
                    for c in action.when]  # fmt: skip
            _expect(
                all(s <= known for s in said), f"action {action.id}: undefined predicate in {said}"
            )
            _expect(
                action.inverse in {None, *ids},
                f"action {action.id}: undefined inverse {action.inverse}",
            )
            _expect(
                action.object in self.object_names,
                f"action {action.id}: undefined object {action.object}",
            )
            _expect(
                action.verb in self.verb_names, f"action {action.id}: undefined verb {action.verb}"
            )
        for scene in self.scenes:
            _expect(
                set(scene.decor) <= set(self.decor),
                f"scene {scene.name}: undefined decor in {scene.decor}",
            )
            _expect(
                set(scene.clutter) <= set(self.objects), f"scene {scene.name}: undefined clutter"
            )

    @property
    def action_ids(self) -> tuple[str, ...]:
        """Class ids in ascending order."""
        return tuple(action.id for action in self.actions)

    @property
    def inverse_pairs(self) -> tuple[tuple[str, str], ...]:
        """Pairs (class id, id of the class with the reversed change). Each pair occurs once."""
        return tuple((a.id, a.inverse) for a in self.actions if a.inverse is not None)


@cache
def load_rules() -> Rules:
    """Read configs/world/.

    Raises:
        ValueError: if a definition uses an undefined name.
    """
    objects, stories = _read("objects")["objects"], _read("stories")
    actions, scenes = _read("actions"), _read("scenes")
    weights = stories["objects"]
    return Rules(
        vocabulary=load_vocabulary("action_genome"),
        states={name: _state(name, tree) for name, tree in _read("states")["states"].items()},
        objects={name: _object(name, tree, weights[name]) for name, tree in objects.items()},
        stories=tuple(_story(name, tree) for name, tree in stories["stories"].items()),
        actions=tuple(_action(tree) for tree in actions["actions"]),
        verb_names=tuple(actions["verbs"]),
        object_names=tuple(actions["objects"]),
        scenes=tuple(_scene(tree) for tree in scenes["scenes"]),
        decor={name: (tuple(tree["at"]), _shape(tree)) for name, tree in scenes["decor"].items()},
    )


def _read(name: str) -> Any:
    return OmegaConf.to_container(OmegaConf.load(FOLDER / f"{name}.yaml"))


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"configs/{FOLDER.name}/: {what}")


def _shape(tree: Mapping[str, Any]) -> Shape:
    width, height = map(float, tree["size"])
    return Shape((width, height), tuple(tree["parts"]))


def _state(name: str, tree: dict[str, Any]) -> State:
    x, y, hertz = map(float, tree.pop("sway", (0, 0, 1)))
    return State(name, frozenset(tree.pop("says")), sway=(x, y, hertz), **tree)


def _object(name: str, tree: dict[str, Any], weight: float) -> ObjectRule:
    x, y = map(float, tree.get("grip", (0.5, 0.5)))
    level, seat = (float(tree.get(key, 0.0)) for key in ("level", "seat"))
    return ObjectRule(name, _shape(tree), tree["spot"], level, seat, (x, y), float(weight))


def _story(name: str, tree: dict[str, Any]) -> Story:
    who = {role: tuple(classes) for role, classes in tree["who"].items()}
    held: dict[str, str] = {}
    steps = []
    for step in tree["steps"]:
        held = held | (step if isinstance(step, dict) else {next(iter(who)): step})
        steps.append(dict(held))
    flags = (bool(tree.get(key, False)) for key in ("posture", "one_way"))
    return Story(name, float(tree["weight"]), who, tuple(steps), *flags)


def _action(tree: dict[str, Any]) -> ActionRule:
    when = tuple(_condition(c, tree["object"]) for c in tree["when"])
    return ActionRule(**tree | {"when": when, "inverse": tree.get("inverse")})


def _condition(tree: dict[str, Any], default: str) -> Condition:
    of = tree.get("of", default)
    classes = () if of == "any" else tuple(of) if isinstance(of, list) else (of,)
    before, after, during = (frozenset(tree.get(key, ())) for key in ("before", "after", "while"))
    also = {name: frozenset(said) for name, said in tree.get("with", {}).items()}
    return Condition(classes, before, after, during, also)


def _scene(tree: dict[str, Any]) -> SceneRule:
    three = {key: tuple(float(v) for v in tree.pop(key)) for key in ("wall", "floor", "light")}
    lists = {key: tuple(tree.pop(key)) for key in ("decor", "clutter")}
    return SceneRule(light_from=int(tree.pop("from")), **three, **lists, **tree)  # type: ignore[arg-type]
