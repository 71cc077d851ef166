"""Names of the object classes and predicates."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.config.text_yaml import read_text_yaml
from pipeline.errors import UsageError
from relations.settings import PairGroups

_KIND_KEYS = {"subject", "objects", "groups"}
VOCABULARY_FOLDER = Path(__file__).resolve().parents[2] / "configs" / "vocabularies"


def normalize_name(name: str) -> str:
    """Return the letters and digits of a name in lower case.

    The result is the same for all spellings of a class, such as `closet/cabinet`, `closet_cabinet`
    and `closetcabinet`.
    """
    return "".join(c for c in name.lower() if c.isalnum())


@dataclass(frozen=True)
class PairKind:
    """Kind of pairs, by the classes of its boxes.

    Attributes:
        subject: class of the first box. If None, each object is paired with itself, for its state.
        objects: classes of the second box.
        groups: groups of predicates of these pairs. If it is empty, the pairs have all groups.
    """

    subject: str | None
    objects: tuple[str, ...]
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Vocabulary:
    """Names of the O object classes and R predicates, in the order of their indices.

    Attributes:
        objects: names of the object classes, `person` first.
        predicate_groups: mapping from group name to predicate names. The R predicates are the
            concatenation of the groups in order.
        pairs: mapping from name to kind of pairs; the first one is the default. If it is empty, the
            person is paired with every other box.
        aliases: mapping from a name of another detector's class to the object class.
        exclusive: groups of which a pair has one predicate. A pair can have several predicates of
            another group.

    Raises:
        ValueError: if a name occurs twice in any spelling, the first object is not `person`, a kind
            or an alias has an unknown class, or a kind or `exclusive` has an unknown group.
    """

    objects: tuple[str, ...]
    predicate_groups: dict[str, tuple[str, ...]]
    pairs: dict[str, PairKind] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    exclusive: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.objects or self.objects[0] != "person":
            raise ValueError(f"objects: 'person' expected first, got {self.objects[:1]}")
        for what, names in (("object", self.objects), ("predicate", self.predicates)):
            folded = [normalize_name(name) for name in names]
            if len(set(folded)) < len(folded):
                twice = [n for n, key in zip(names, folded, strict=True) if folded.count(key) > 1]
                raise ValueError(f"{what} names: unique names expected, got {twice[0]!r} twice")
        for name in [*self.aliases.values(), *(n for k in self.pairs.values() for n in k.objects)]:
            self.object_index(name)
        for kind in self.pairs.values():
            self.object_index(kind.subject or "person")
        for group in [*self.exclusive, *(g for k in self.pairs.values() for g in k.groups)]:
            if group not in self.predicate_groups:
                known = ", ".join(self.predicate_groups)
                raise ValueError(f"groups of predicates: one of {known} expected, got {group!r}")

    @property
    def predicates(self) -> tuple[str, ...]:
        """Names of all R predicates, in index order."""
        return tuple(name for group in self.predicate_groups.values() for name in group)

    @property
    def group_sizes(self) -> dict[str, int]:
        """Mapping from group name to number of predicates, in index order."""
        return {group: len(names) for group, names in self.predicate_groups.items()}

    def chosen_pairs(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the names of kinds of pairs, or the default kind if `names` is empty.

        Raises:
            UsageError: if a kind is unknown or repeated.
        """
        for number, name in enumerate(names):
            if name not in self.pairs or name in names[:number]:
                known = ", ".join(self.pairs) or "no kinds (the person is paired with every box)"
                raise UsageError(
                    f"pairs: different kinds of the vocabulary expected, which has {known}; got "
                    f"{', '.join(names)}"
                )
        return tuple(names) or tuple(self.pairs)[:1]

    def pair_classes(self, names: Sequence[str]) -> list[tuple[int | None, frozenset[int]]]:
        """Return the class of the subject and the classes of the objects of kinds of pairs."""
        return [
            (
                None if kind.subject is None else self.object_index(kind.subject),
                frozenset(self.object_index(name) for name in kind.objects),
            )
            for kind in (self.pairs[name] for name in names)
        ]

    def pair_groups(self, names: Sequence[str]) -> tuple[PairGroups, ...]:
        """Return the classes and the groups of predicates of kinds of pairs."""
        classes = zip(names, self.pair_classes(names), strict=True)
        return tuple(
            (subject, tuple(sorted(objects)), self.pairs[name].groups or (*self.predicate_groups,))
            for name, (subject, objects) in classes
        )

    def object_index(self, name: str) -> int:
        """Return the index of an object class, given its name in any spelling.

        Raises:
            ValueError: if the name is unknown.
        """
        return _index_of(name, self.objects, "object class")

    def predicate_index(self, name: str) -> int:
        """Return the index of a predicate, given its name in any spelling.

        Raises:
            ValueError: if the name is unknown.
        """
        return _index_of(name, self.predicates, "predicate")


def _index_of(name: str, names: tuple[str, ...], what: str) -> int:
    folded = [normalize_name(known) for known in names]
    if normalize_name(name) not in folded:
        raise ValueError(f"{what}: one of {', '.join(names)} expected, got {name!r}")
    return folded.index(normalize_name(name))


def load_vocabulary(name: str) -> Vocabulary:
    """Read a vocabulary from `configs/vocabularies/NAME.yaml`.

    All names in the file are text, also words such as `on` and `no`.

    Raises:
        UsageError: if the file does not exist or is not a vocabulary.
    """
    path = VOCABULARY_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in VOCABULARY_FOLDER.glob("*.yaml")))
        raise UsageError(f"vocabulary: one of {known} expected, got {name!r}")
    tree = read_text_yaml(path)
    try:
        objects, groups = (_value(tree, key) for key in ("objects", "predicates"))
        if not isinstance(groups, dict) or not groups:
            raise ValueError("predicates: a mapping from group names to lists of names expected")
        return Vocabulary(
            _names(objects, "objects"),
            {group: _names(names, f"predicates.{group}") for group, names in groups.items()},
            _pair_kinds(tree.get("pairs", {})),
            _aliases(tree.get("aliases", {})),
            _exclusive(tree, groups),
        )
    except ValueError as error:
        raise UsageError(f"{path}: {error}") from error


def _pair_kinds(tree: Any) -> dict[str, PairKind]:
    kinds = {}
    for name, kind in tree.items() if isinstance(tree, dict) else [("", None)]:
        if not isinstance(kind, dict) or not {"objects"} <= {*kind} <= _KIND_KEYS:
            raise ValueError(
                "pairs: kinds with the keys subject (optional) and objects, and groups (optional), "
                f"expected, got {name!r}"
            )
        given = {key: [kind[key]] if key == "subject" else kind[key] for key in kind}
        found = {key: _names(value, f"pairs.{name}.{key}") for key, value in given.items()}
        subject = found["subject"][0] if "subject" in found else None
        kinds[name] = PairKind(subject, found["objects"], found.get("groups", ()))
    return kinds


def _exclusive(tree: dict[str, Any], groups: dict[str, Any]) -> tuple[str, ...]:
    """Return the exclusive groups. By default, only the group `attention` is exclusive."""
    if "exclusive" in tree:
        return _names(tree["exclusive"], "exclusive")
    return tuple(group for group in groups if group == "attention")


def _aliases(tree: Any) -> dict[str, str]:
    if not isinstance(tree, dict):
        raise ValueError("aliases: a mapping from object classes to lists of names expected")
    return {
        normalize_name(alias): name
        for name, aliases in tree.items()
        for alias in _names(aliases, f"aliases.{name}")
    }


def _value(tree: Any, key: str) -> Any:
    if not isinstance(tree, dict) or key not in tree:
        found = f"the keys {', '.join(tree)}" if isinstance(tree, dict) else type(tree).__name__
        raise ValueError(f"a mapping with the keys objects and predicates expected, got {found}")
    return tree[key]


def _names(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError(f"{where}: a list of names expected, got {str(value)[:60]!r}")
    for number, name in enumerate(value, 1):
        if not isinstance(name, str) or not normalize_name(name):
            raise ValueError(
                f"{where}: a name with letters or digits expected, got {str(name)[:60]!r} as "
                f"entry {number}"
            )
    return tuple(value)
