"""Validated contents of configs/world/cad120.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from tools.world.rules import FOLDER, Shape, load_rules

MICROWAVE = "microwave"
#: Step that moves an object out of the microwave although no action is defined for it.
WITHDRAW = "withdraw"


@dataclass(frozen=True)
class StateRule:
    """Pair of relations or attributes, of which exactly one holds.

    Attributes:
        names: both names, in the order of the annotation files.
        of: object classes to which they apply.
    """

    names: tuple[str, str]
    of: tuple[str, ...]


@dataclass(frozen=True)
class ActionRule:
    """Change that defines an action.

    Attributes:
        name: name of the action.
        subject: subject of the relation that changes; None for an attribute.
        before, after: relation or attribute before and after the change.
        of: object classes to which the action applies.
    """

    name: str
    subject: str | None
    before: str
    after: str
    of: tuple[str, ...]


@dataclass(frozen=True)
class Step:
    """Step of an activity.

    Attributes:
        action: an action, or `withdraw`.
        role: role of the object.
        chance: probability that the step takes place.
        shown: probability that the step has a clip.
    """

    action: str
    role: str
    chance: float
    shown: float


@dataclass(frozen=True)
class Activity:
    """Sequence of steps with the objects that take part.

    Attributes:
        name: name of the activity.
        videos: relative frequency.
        roles: object classes that can play each role.
        inside: role of the object that starts in the microwave, or None.
        others: classes of objects that can stand on the table as well.
        steps: steps in order.
    """

    name: str
    videos: float
    roles: dict[str, tuple[str, ...]]
    inside: str | None
    others: tuple[str, ...]
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class Rules:
    """Contents of configs/world/cad120.yaml.

    Attributes:
        subjects: number in the cast of each subject, in the order of the folds.
        rooms: names of the scenes of configs/world/scenes.yaml.
        relations: pair of relations of each subject class.
        attributes: pair of attributes.
        actions: rules of all actions except `null`.
        shapes: shape of each object class; None for hands and heads.
        tilts: rotation of each object class at the mouth in degrees.
        activities: all activities.

    Raises:
        ValueError: if a rule uses an undefined name.
    """

    subjects: dict[str, int]
    rooms: tuple[str, ...]
    relations: dict[str, StateRule]
    attributes: StateRule
    actions: tuple[ActionRule, ...]
    shapes: dict[str, Shape | None]
    tilts: dict[str, float]
    activities: tuple[Activity, ...]

    def __post_init__(self) -> None:
        states: dict[str | None, StateRule] = {None: self.attributes}
        states.update(self.relations)
        for action in self.actions:
            state = states.get(action.subject)
            _expect(
                state is not None
                and {action.before, action.after} == set(state.names)
                and set(action.of) <= set(state.of),
                f"action {action.name}: undefined subject, change or object",
            )
        for rule in states.values():
            _expect(set(rule.of) <= set(self.shapes), f"undefined object in {rule.of}")
        rooms = {scene.name for scene in load_rules().scenes}
        _expect(set(self.rooms) <= rooms, f"rooms: undefined {sorted(set(self.rooms) - rooms)}")
        known = {action.name for action in self.actions} | {WITHDRAW}
        for activity in self.activities:
            used = {*activity.others, *(c for of in activity.roles.values() for c in of)}
            _expect(
                all(self.shapes.get(name) for name in used),
                f"activity {activity.name}: undefined object in {sorted(used)}",
            )
            for step in activity.steps:
                _expect(
                    step.action in known and step.role in activity.roles,
                    f"activity {activity.name}: undefined action or role in {step}",
                )

    def action(self, name: str) -> ActionRule:
        """Return the rule of an action."""
        return next(action for action in self.actions if action.name == name)

    def shape(self, name: str) -> Shape:
        """Return the shape of an object class."""
        shape = self.shapes[name]
        assert shape is not None
        return shape


@cache
def load_cad120() -> Rules:
    """Read configs/world/cad120.yaml.

    Raises:
        ValueError: if a rule uses an undefined name.
    """
    tree: Any = OmegaConf.to_container(OmegaConf.load(FOLDER / "cad120.yaml"))
    objects = tree["objects"]
    actions = {name: rule for name, rule in tree["actions"].items() if rule}
    return Rules(
        subjects=tree["subjects"],
        rooms=tuple(tree["rooms"]),
        relations={name: _states(rule) for name, rule in tree["relations"].items()},
        attributes=_states(tree["attributes"]),
        actions=tuple(
            ActionRule(name, rule.get("subject"), rule["from"], rule["to"], tuple(rule["of"]))
            for name, rule in actions.items()
        ),
        shapes={name: _shape(rule) for name, rule in objects.items()},
        tilts={name: float(rule.get("tilt", 0)) for name, rule in objects.items()},
        activities=tuple(_activity(name, rule) for name, rule in tree["activities"].items()),
    )


def _expect(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"configs/world/cad120.yaml: {what}")


def _states(tree: Mapping[str, Any]) -> StateRule:
    first, second = tree["names"]
    return StateRule((first, second), tuple(tree["of"]))


def _shape(tree: Mapping[str, Any]) -> Shape | None:
    if not tree:
        return None
    width, height = map(float, tree["size"])
    if "like" in tree:
        return Shape((width, height), load_rules().objects[tree["like"]].shape.parts)
    return Shape((width, height), tuple(tree["parts"]))


def _activity(name: str, tree: Mapping[str, Any]) -> Activity:
    steps = []
    for step in tree["steps"]:
        rest = dict(step)
        chance, shown = (float(rest.pop(key, 1)) for key in ("chance", "shown"))
        ((action, role),) = rest.items()
        steps.append(Step(action, role, chance, shown))
    roles = {role: tuple(of) for role, of in tree["roles"].items()}
    others = tuple(tree["others"])
    return Activity(name, float(tree["videos"]), roles, tree.get("inside"), others, tuple(steps))
