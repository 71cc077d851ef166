"""Words of the sentences of explanations, from the files in `configs/wording/`."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pipeline.config.text_yaml import read_text_yaml
from pipeline.errors import UsageError

WORDING = Path(__file__).resolve().parents[2] / "configs" / "wording"
#: File of the vocabularies without a file.
DEFAULT = "action_genome"


@dataclass(frozen=True)
class Wording:
    """Words for object classes and predicates.

    Attributes:
        objects: `name`, `plural` and `part_of` of object classes.
        predicates: `is`, `then`, `had` and `unless` of predicates.
    """

    objects: dict[str, dict[str, str]]
    predicates: dict[str, dict[str, str]]

    def noun(self, name: str) -> str:
        """Return an object class as a noun, such as "cup" for cup/glass/bottle."""
        return self.objects.get(name, {}).get("name", name)

    def object(self, name: str, *, is_other: bool = False) -> str:
        """Return an object class with an article, such as "the cup" or "another cup"."""
        article = "the"
        if is_other:
            article = "other" if self._is_plural(name) else "another"
        return f"{article} {self.noun(name)}"

    def pronoun(self, name: str) -> str:
        """Return the pronoun of an object class."""
        return "them" if self._is_plural(name) else "it"

    def whole(self, name: str) -> str:
        """Return the class that has an object class as its part, such as person for a hand."""
        return self.objects.get(name, {}).get("part_of", name)

    def unless(self, predicate: str) -> str | None:
        """Return the predicate of one part of a person that makes this one false for the person."""
        return self.predicates.get(predicate, {}).get("unless")

    def true_of_person(self, predicates: Collection[str]) -> tuple[str, ...]:
        """Return those of the predicates of several pairs of one object that hold for the person.

        The person holds an object that one of the hands holds, so `not_holding` of the other hand
        is left out.
        """
        return tuple(name for name in predicates if self.unless(name) not in predicates)

    def clause(self, predicate: str, form: str, it: str) -> str:
        """Return a clause, such as "is holding the cup".

        Args:
            predicate: the predicate.
            form: `is`, `then` or `had`.
            it: the object.
        """
        forms = self.predicates.get(predicate)
        if forms is None:
            name = words(predicate)
            clause = (
                "had the relation to {it} still been {name}"
                if form == "had"
                else ("has the relation {name} to {it}")
            )
            return clause.format(it=it, name=f"“{name}”")
        return forms.get(form, forms["is"]).format(it=it)

    def _is_plural(self, name: str) -> bool:
        return self.objects.get(name, {}).get("plural") == "true"


@cache
def load_wording(vocabulary: str) -> Wording:
    """Load the words of a vocabulary from `configs/wording/VOCABULARY.yaml`.

    A vocabulary without this file has the words of `DEFAULT`.

    Args:
        vocabulary: name of the vocabulary.

    Raises:
        UsageError: if the file has another format.
    """
    path = WORDING / f"{vocabulary}.yaml"
    path = path if path.is_file() else WORDING / f"{DEFAULT}.yaml"
    tree = read_text_yaml(path)
    found: dict[str, dict[str, dict[str, str]]] = {"objects": {}, "predicates": {}}
    for part, rows in tree.items() if isinstance(tree, dict) else [("", "")]:
        if part not in found or not isinstance(rows, dict):
            raise UsageError(f"{path}: mappings `objects` and `predicates` expected")
        for name, row in rows.items():
            _check(path, part, name, row)
        found[part] = rows
    return Wording(found["objects"], found["predicates"])


def _check(path: Path, part: str, name: str, row: Any) -> None:
    if not isinstance(row, dict) or (part == "predicates" and "is" not in row):
        what = "a mapping with the key `is`" if part == "predicates" else "a mapping"
        raise UsageError(f"{path}: {part}.{name}: {what} expected, got {row!r}")


def words(name: str) -> str:
    """Return a predicate or a group as words, such as "drinking from"."""
    return name.replace("_", " ")
