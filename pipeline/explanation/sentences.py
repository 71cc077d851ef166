"""Sentences that state the reasons of predicted actions."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pipeline.config.text_yaml import read_text_yaml
from pipeline.errors import UsageError
from pipeline.explanation.observations import Name, Token
from pipeline.explanation.predictions import Reason, Statement

WORDING = Path(__file__).resolve().parents[2] / "configs" / "wording"


@dataclass(frozen=True)
class Wording:
    """Words for object classes and predicates, from the files in `configs/wording/`.

    Attributes:
        objects: `name` and `plural` of object classes.
        predicates: `is`, `then` and `had` of predicates.
    """

    objects: dict[str, dict[str, str]]
    predicates: dict[str, dict[str, str]]

    def noun(self, name: str) -> str:
        """Return an object class as a noun, such as "cup" for cup/glass/bottle."""
        return self.objects.get(name, {}).get("name", name)

    def object(self, name: str) -> str:
        """Return an object class with an article, such as "the cup"."""
        return f"the {self.noun(name)}"

    def pronoun(self, name: str) -> str:
        """Return the pronoun of an object class."""
        return "them" if self.objects.get(name, {}).get("plural") == "true" else "it"

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


@cache
def load_wording() -> Wording:
    """Load all files in `configs/wording/`, sorted by name. Later files replace words.

    Raises:
        UsageError: if a file has another format.
    """
    found: dict[str, dict[str, dict[str, str]]] = {"objects": {}, "predicates": {}}
    for path in sorted(WORDING.glob("*.yaml")):
        tree = read_text_yaml(path)
        for part, rows in tree.items() if isinstance(tree, dict) else [("", "")]:
            if part not in found or not isinstance(rows, dict):
                raise UsageError(f"{path}: mappings `objects` and `predicates` expected")
            for name, row in rows.items():
                if not isinstance(row, dict) or (part == "predicates" and "is" not in row):
                    what = "a mapping with the key `is`" if part == "predicates" else "a mapping"
                    raise UsageError(f"{path}: {part}.{name}: {what} expected, got {row!r}")
            found[part] |= rows
    return Wording(found["objects"], found["predicates"])


def words(name: str) -> str:
    """Return a predicate or a group as words, such as "drinking from"."""
    return name.replace("_", " ")


def sentence_of(name: str, score: float, reason: Reason, tokens: Sequence[Token]) -> str:
    """State the reason of an action in words.

    Args:
        name: name of the action.
        score: score of the action.
        reason: the reason.
        tokens: the tokens of the video.

    Returns:
        One or two sentences. A question mark follows what a name states that is not confident.
    """
    wording = load_wording()
    head = f"{name} ({score:.2f}): "
    if reason.object is None or reason.between_s is None:
        return f"{head}no relation is needed, the score without any is {reason.score_only:.2f}."
    parts = [reason, *reason.also]
    said = f"the person {', and '.join(_part(wording, part, tokens) for part in parts)}."
    thing = wording.object(reason.object)
    if reason.from_ is not None:
        had = wording.clause(reason.from_, "had", thing)
        if reason.from_ in _said(reason, tokens, reason.between_s[1]):
            had = "without this change"
        end = f" {had[0].upper()}{had[1:]}, the score would be {reason.score_if_unchanged:.2f}."
    else:
        end = f" Without {thing}, the score would be {reason.score_without_track:.2f}."
    return head + said + end


def _part(wording: Wording, part: Statement, tokens: Sequence[Token]) -> str:
    """Describe one track of a reason, without the subject."""
    assert part.object is not None
    assert part.between_s is not None
    thing, (start, end) = wording.object(part.object), part.between_s
    first, last = times(start, end)
    marks = {time: _mark(part, tokens, time) for time in (start, end)}
    if part.to is None:
        said = f"is with {thing} (?)"
    elif part.from_ is not None:
        before = wording.clause(part.from_, "is", thing) + marks[start]
        after = wording.clause(part.to, "then", wording.pronoun(part.object)) + marks[end]
        return f"{before} at {first} s and {after} at {last} s"
    else:
        said = wording.clause(part.to, "is", thing) + (marks[start] or marks[end])
    return f"{said} at {first} s" if first == last else f"{said} between {first} s and {last} s"


def times(start: float, end: float) -> tuple[str, str]:
    """Format two times in seconds, with a second decimal only if they are equal without it."""
    short = f"{start:.1f}", f"{end:.1f}"
    return (f"{start:.2f}", f"{end:.2f}") if short[0] == short[1] and start != end else short


def _mark(part: Statement, tokens: Sequence[Token], time: float) -> str:
    """Return a question mark if the name of the part's token at this time is not confident."""
    names = _names(part, tokens, time)
    return "" if all(name.status == "confident" for name in names) else " (?)"


def _said(part: Statement, tokens: Sequence[Token], time: float) -> list[str]:
    """Return the predicates by which the part's token at this time is named in its group."""
    return [word for name in _names(part, tokens, time) for word in name.predicates]


def _names(part: Statement, tokens: Sequence[Token], time: float) -> list[Name]:
    return [
        name
        for token in tokens
        if token.track == part.track and token.time_s == time
        for name in token.names
        if name.group == part.group
    ]
