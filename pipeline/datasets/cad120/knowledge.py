"""Names of actions, objects, attributes and relations, and the rules for actions."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.datasets.cad120.files import read_lines
from pipeline.errors import UsageError

#: Action of a clip without any change of a state.
NULL = "null"
_ATTRIBUTES, _RELATIONS = "attribute_list.txt", "relation_list.txt"
_ACTIONS, _OBJECTS = "action_list.txt", "object_list.txt"


@dataclass(frozen=True)
class Rule:
    """Change of a state that means an action.

    Attributes:
        action: index of the action.
        subject: class of the subject of a relation, or None for an attribute.
        before: index of the relation or attribute before the action.
        after: index of the relation or attribute after the action.
        objects: classes of the objects to which the rule applies.
    """

    action: int
    subject: str | None
    before: int
    after: int
    objects: frozenset[str]


@dataclass(frozen=True)
class Knowledge:
    """Content of the folder `knowledge`.

    All names are in the order of their files, which defines their indices.

    Attributes:
        actions: names of the actions, among them `null`.
        objects: names of the object classes.
        attributes: names of the attributes of an object.
        relations: names of the relations between a subject and an object.
        object_attributes: mapping from object class to the indices of its possible attributes, for
            the classes that have any.
        object_relations: mapping from (subject class, object class) to the indices of the possible
            relations. The release contains a video with another relation, see `VideoAnnotation`.
        rules: rules for all actions except `null`.
    """

    actions: tuple[str, ...]
    objects: tuple[str, ...]
    attributes: tuple[str, ...]
    relations: tuple[str, ...]
    object_attributes: dict[str, tuple[int, ...]]
    object_relations: dict[tuple[str, str], tuple[int, ...]]
    rules: tuple[Rule, ...]

    def rule_actions(
        self, states: Sequence[int], object_class: str, subject_class: str | None = None
    ) -> set[int]:
        """Return the actions that the rules infer from the states of one object or one pair.

        Each two consecutive states that differ are a change. A change means the actions of all
        rules that apply to it. A change without a rule means no action.

        Args:
            states: indices of the attributes of an object, or of the relations of a pair, in
                temporal order, for the frames in which the state is known.
            object_class: class of the object.
            subject_class: class of the subject of the pair, or None for attributes.

        Returns:
            Indices of the actions; empty if nothing changes.
        """
        changes = {pair for pair in itertools.pairwise(states) if pair[0] != pair[1]}
        return {
            rule.action
            for rule in self.rules
            if rule.subject == subject_class
            and object_class in rule.objects
            and (rule.before, rule.after) in changes
        }


def read_knowledge(folder: Path) -> Knowledge:
    """Read the files of the folder `knowledge`.

    Raises:
        UsageError: if a file is missing or malformed, a name occurs twice, a name is in none of
            the lists, or there is no action `null`.
    """
    names = {n: _names(folder / n) for n in (_ACTIONS, _OBJECTS, _ATTRIBUTES, _RELATIONS)}
    if NULL not in names[_ACTIONS]:
        raise UsageError(f"{folder / _ACTIONS}: the action {NULL} expected, not found")
    index = {file: {name: i for i, name in enumerate(listed)} for file, listed in names.items()}
    object_attributes: dict[str, tuple[int, ...]] = {}
    for row in _rows(folder / "object_attribute_list.txt", index, 2):
        if row.fields[1] != [NULL]:
            states = row.indices(1, _ATTRIBUTES)
            object_attributes.update(dict.fromkeys(row.names(0, _OBJECTS), states))
    object_relations: dict[tuple[str, str], tuple[int, ...]] = {}
    for row in _rows(folder / "object_relation_list.txt", index, 4):
        subject = names[_OBJECTS][row.one(0, _OBJECTS)]
        states = (row.one(1, _RELATIONS), row.one(2, _RELATIONS))
        for name in row.names(3, _OBJECTS):
            object_relations[subject, name] = states
    rules = [
        Rule(
            row.one(0, _ACTIONS),
            None,
            row.one(1, _ATTRIBUTES),
            row.one(2, _ATTRIBUTES),
            frozenset(row.names(3, _OBJECTS)),
        )
        for row in _rows(folder / "act_attr_list.txt", index, 4)
    ]
    rules += [
        Rule(
            row.one(0, _ACTIONS),
            names[_OBJECTS][row.one(3, _OBJECTS)],
            row.one(1, _RELATIONS),
            row.one(2, _RELATIONS),
            frozenset(row.names(4, _OBJECTS)),
        )
        for row in _rows(folder / "act_rel_list.txt", index, 5)
    ]
    return Knowledge(
        names[_ACTIONS],
        names[_OBJECTS],
        names[_ATTRIBUTES],
        names[_RELATIONS],
        object_attributes,
        object_relations,
        tuple(rules),
    )


def _names(path: Path) -> tuple[str, ...]:
    """Read a list with one name per line."""
    names: dict[str, None] = {}
    for number, name in read_lines(path):
        if name in names or any(c in name for c in ",;"):
            raise UsageError(
                f"{path}:{number}: one name per line expected, without ',' and ';' and each only "
                f"once, got {name[:80]!r}"
            )
        names[name] = None
    return tuple(names)


@dataclass(frozen=True)
class _Row:
    """Line of a file with fields that are separated by semicolons, and names by commas.

    Attributes:
        place: path and line number, used in error messages.
        fields: names of each field.
        index: mapping from the file name of each list to its names with their indices.
    """

    place: str
    fields: list[list[str]]
    index: dict[str, dict[str, int]]

    def names(self, field: int, listed: str) -> list[str]:
        """Return the names of a field, which must be in a list."""
        for name in self.fields[field]:
            if name not in self.index[listed]:
                raise UsageError(
                    f"{self.place}: names of {listed} expected in field {field + 1}, got "
                    f"{name[:80]!r}"
                )
        return self.fields[field]

    def indices(self, field: int, listed: str) -> tuple[int, ...]:
        """Return the indices of the names of a field."""
        return tuple(self.index[listed][name] for name in self.names(field, listed))

    def one(self, field: int, listed: str) -> int:
        """Return the index of the name of a field with one name."""
        found = self.indices(field, listed)
        if len(found) != 1:
            raise UsageError(
                f"{self.place}: one name expected in field {field + 1}, got {len(found)} names"
            )
        return found[0]


def _rows(path: Path, index: dict[str, dict[str, int]], num_fields: int) -> Iterator[_Row]:
    for number, line in read_lines(path):
        fields = [[name.strip() for name in field.split(",")] for field in line.split(";")]
        if len(fields) != num_fields:
            raise UsageError(
                f"{path}:{number}: {num_fields} fields separated by ';' expected, got {line[:80]!r}"
            )
        yield _Row(f"{path}:{number}", fields, index)
