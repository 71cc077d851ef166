"""Edits of the named relations of a video: what the network would predict otherwise."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from pipeline.config.typed_json import TypedJson
from pipeline.errors import UsageError
from pipeline.explanation.predictions import Reason
from pipeline.explanation.wording import Wording
from pipeline.runtime.files import json_sha256

FORM = (
    'START-END OBJECT PREDICATE=>PREDICATE expected, such as "1.2-3.4 cup holding=>not_contacting"'
)
_EDIT = re.compile(r"(\d+\.?\d*|\.\d+)\s*-\s*(\d+\.?\d*|\.\d+)\s+(.+?)\s*=>\s*(.+)", re.ASCII)


@dataclass(frozen=True)
class Edit(TypedJson):
    """Replacement of a predicate in the names of an object's tokens.

    Attributes:
        between_s: first and last time of the tokens in seconds, to a hundredth of a second.
        object: object class.
        group: predicate group.
        from_: predicate that is replaced.
        to: the other predicate.
    """

    between_s: tuple[float, float]
    object: str
    group: str
    from_: str
    to: str

    @property
    def text(self) -> str:
        """The edit as it is written on the command line."""
        start, end = (f"{time:.6f}".rstrip("0").rstrip(".") for time in self.between_s)
        return f"{start}-{end} {self.object} {self.from_}=>{self.to}"


@dataclass(frozen=True)
class EditedPrediction(TypedJson):
    """Prediction of an action before and after edits.

    Attributes:
        class_id: id of the action class.
        name: name of the action class.
        window: window in which the action is scored.
        score_before: score before the edits.
        score: score after the edits.
        sentence_before: the reason before the edits in words.
        sentence: the reason after the edits in words.
        reason: the reason after the edits.
    """

    class_id: str
    name: str
    window: int
    score_before: float
    score: float
    sentence_before: str
    sentence: str
    reason: Reason


@dataclass(frozen=True)
class Edited(TypedJson):
    """What a network predicts after edits. The selection of the tokens stays as it is.

    Attributes:
        edits: the edits, in the order in which they are made.
        tokens: the edited tokens.
        predictions: the predictions of the explanation in their order, and then the actions that
            become present by the edits, in descending order.
    """

    edits: tuple[Edit, ...]
    tokens: tuple[int, ...]
    predictions: tuple[EditedPrediction, ...]


def parse_edit(
    text: str,
    objects: Sequence[str],
    groups: Mapping[str, Collection[str]],
    wording: Wording,
) -> Edit:
    """Parse an edit such as "1.2-3.4 cup holding=>not_contacting".

    Args:
        text: the edit. Times are in seconds. The object is a class or its noun in sentences, such
            as "cup" for cup/glass/bottle. Spaces in predicates are read as underscores.
        objects: object classes, the person first.
        groups: predicates of each group.
        wording: words of the vocabulary.

    Raises:
        UsageError: if the text has another form, the interval is empty, a word is unknown, or the
            predicates are equal or of two groups.
    """
    found = _EDIT.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--edit: {FORM}, got {text!r}")
    start, end = float(found[1]), float(found[2])
    if start > end:
        raise UsageError(f"--edit: a start before the end expected, got {text!r}")
    group_of = {word: group for group, words in groups.items() for word in words}
    classes = {wording.noun(name): name for name in objects[1:]}
    classes |= {name: name for name in objects[1:]}
    words, to = found[3].split(), "_".join(found[4].split())
    pairs = [(" ".join(words[:i]), "_".join(words[i:])) for i in range(1, len(words))]
    name, before = next((pair for pair in pairs if pair[0] in classes), ("", ""))
    if not name:
        raise UsageError(
            f"--edit: one of the objects {', '.join(objects[1:])} expected, got {text!r}"
        )
    for word in (before, to):
        if word not in group_of:
            raise UsageError(
                f"--edit: one of the predicates {', '.join(group_of)} expected, got {word!r}"
            )
    if before == to or group_of[before] != group_of[to]:
        raise UsageError(
            f"--edit: two predicates of one group expected, got {before} ({group_of[before]}) and "
            f"{to} ({group_of[to]})"
        )
    return Edit((start, end), classes[name], group_of[before], before, to)


def edited_fingerprint(fingerprint: str, edits: Sequence[Edit]) -> str:
    """Return the fingerprint of an explanation with further edits."""
    for edit in edits:
        fingerprint = json_sha256([fingerprint, edit.to_dict()])
    return fingerprint
