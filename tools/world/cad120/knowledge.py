"""Files of the folder `knowledge`: names, and rules of the actions."""

from collections.abc import Iterable

from tools.world.cad120.rules import ActionRule, Rules

NULL = "null"


def knowledge_files(rules: Rules) -> dict[str, str]:
    """Return the content of each file of the folder `knowledge` by its name."""
    attributes = rules.attributes
    files = {
        "action_list": [NULL, *(action.name for action in rules.actions)],
        "object_list": [*rules.shapes],
        "attribute_list": [*attributes.names],
        "relation_list": [name for rule in rules.relations.values() for name in rule.names],
        "object_attribute_list": [
            f"{name}; {', '.join(attributes.names) if name in attributes.of else NULL}"
            for name in rules.shapes
        ],
        "object_relation_list": [
            "; ".join((subject, *rule.names, ", ".join(rule.of)))
            for subject, rule in rules.relations.items()
        ],
        "act_attr_list": _changes(a for a in rules.actions if a.subject is None),
        "act_rel_list": _changes(a for a in rules.actions if a.subject is not None),
    }
    return {f"{name}.txt": "".join(f"{x}\n" for x in lines) for name, lines in files.items()}


def _changes(actions: Iterable[ActionRule]) -> list[str]:
    lines = []
    for action in actions:
        subject = () if action.subject is None else (action.subject,)
        change = (action.name, action.before, action.after, *subject)
        lines.append("; ".join((*change, ", ".join(action.of))))
    return lines
