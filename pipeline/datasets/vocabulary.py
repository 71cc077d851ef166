"""Names of the object classes and predicates."""

from dataclasses import dataclass
from pathlib import Path

from omegaconf import OmegaConf

from pipeline.errors import UsageError

VOCABULARY_FOLDER = Path(__file__).resolve().parents[2] / "configs" / "vocabularies"


def normalize_name(name: str) -> str:
    """Return the letters and digits of a name in lower case.

    The result is the same for all spellings of a class, such as `closet/cabinet`, `closet_cabinet`
    and `closetcabinet`.
    """
    return "".join(c for c in name.lower() if c.isalnum())


@dataclass(frozen=True)
class Vocabulary:
    """Names of the O object classes and R predicates, in the order of their indices.

    Attributes:
        objects: names of the object classes, `person` first.
        predicate_groups: mapping from group name to predicate names. The R predicates are the
            concatenation of the groups in order.

    Raises:
        ValueError: if a name occurs twice in any spelling, or the first object is not `person`.
    """

    objects: tuple[str, ...]
    predicate_groups: dict[str, tuple[str, ...]]

    def __post_init__(self) -> None:
        if not self.objects or self.objects[0] != "person":
            raise ValueError(f"objects: 'person' expected first, got {self.objects[:1]}")
        for what, names in (("object", self.objects), ("predicate", self.predicates)):
            folded = [normalize_name(name) for name in names]
            if len(set(folded)) < len(folded):
                twice = next(n for n in folded if folded.count(n) > 1)
                raise ValueError(f"{what} classes: unique names expected, got {twice!r} twice")

    @property
    def predicates(self) -> tuple[str, ...]:
        """Names of all R predicates, in index order."""
        return tuple(name for group in self.predicate_groups.values() for name in group)

    @property
    def group_sizes(self) -> dict[str, int]:
        """Mapping from group name to number of predicates, in index order."""
        return {group: len(names) for group, names in self.predicate_groups.items()}

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

    Raises:
        UsageError: if the file does not exist or is not a mapping.
    """
    path = VOCABULARY_FOLDER / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in VOCABULARY_FOLDER.glob("*.yaml")))
        raise UsageError(f"vocabulary: one of {known} expected, got {name!r}")
    tree = OmegaConf.to_container(OmegaConf.load(path))
    if not isinstance(tree, dict):
        raise UsageError(f"{path}: a mapping with keys `objects` and `predicates` expected")
    groups = {group: tuple(names) for group, names in tree["predicates"].items()}
    return Vocabulary(tuple(tree["objects"]), groups)
