"""What can happen, as data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

RULES = Path(__file__).resolve().parents[2] / "configs" / "world" / "actions.yaml"


@dataclass(frozen=True)
class ObjectRule:
    """An object class: width and height as shares of the frame's height, and its stories."""

    name: str
    size: tuple[float, float]
    stories: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ActionRule:
    """An action: `source` to `target` at a change of state, or within the state `during`."""

    name: str
    object: str
    source: str | None
    target: str | None
    during: str | None


@dataclass(frozen=True)
class Rules:
    """Everything of the YAML file; states: name -> group -> predicates."""

    states: dict[str, dict[str, tuple[str, ...]]]
    objects: tuple[ObjectRule, ...]
    actions: tuple[ActionRule, ...]


def load_rules(path: Path = RULES) -> Rules:
    """Read the rules.

    Raises:
        ValueError: if a story or action names a state or object that is not there.
    """
    tree: Any = OmegaConf.to_container(OmegaConf.load(path))
    states = {
        name: {group: tuple(names) for group, names in groups.items()}
        for name, groups in tree["states"].items()
    }
    objects = tuple(
        ObjectRule(name, tuple(o["size"]), tuple(tuple(s) for s in o["stories"]))
        for name, o in tree["objects"].items()
    )
    actions = tuple(
        ActionRule(a["name"], a["object"], a.get("from"), a.get("to"), a.get("during"))
        for a in tree["actions"]
    )
    used = {state for o in objects for story in o.stories for state in story}
    used |= {s for a in actions for s in (a.source, a.target, a.during) if s}
    if used - states.keys() or {a.object for a in actions} - {o.name for o in objects}:
        raise ValueError(f"{path}: known states and objects expected, got {used - states.keys()}")
    return Rules(states, objects, actions)
