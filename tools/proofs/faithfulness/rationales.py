"""Agreement of reasons with the objects and the intervals of the annotated actions."""

from collections.abc import Sequence
from pathlib import Path

import torch

from pipeline.datasets.text_files import read_text
from pipeline.datasets.vocabulary import normalize_name
from pipeline.errors import UsageError
from pipeline.explanation.explained_clip import ExplainedClip
from pipeline.samples.labels import action_frames

#: Files of Charades: verb and object of each action class, and names of the objects.
MAPPING, OBJECTS = "Charades_v1_mapping.txt", "Charades_v1_objectclasses.txt"
#: Name of the object of classes without an object.
NO_OBJECT = "None"


def read_objects(
    folder: Path, class_ids: Sequence[str], vocabulary: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Read the object of each action class.

    Args:
        folder: folder that contains `MAPPING` and `OBJECTS`.
        class_ids: ids of the action classes.
        vocabulary: names of the object classes of the tokens.

    Returns:
        The object classes that are the object of each action class. A name is an object class if
        both are equal or share a part between slashes: `closet` is `closet/cabinet`. The set is
        empty if the object is not in the vocabulary. Classes without an object are missing.

    Raises:
        UsageError: if a file is missing or malformed, or lacks a class or an object.
    """
    known = {name: _parts(name) for name in vocabulary}
    names = {row[0]: row[1] for row in _rows(folder / OBJECTS, 2)}
    objects = {row[0]: row[1] for row in _rows(folder / MAPPING, 3)}
    found = {}
    for class_id in class_ids:
        name = names.get(objects.get(class_id, ""))
        if name is None:
            raise UsageError(
                f"--annotations: {MAPPING} with the object of class {class_id}, and {OBJECTS} with "
                f"its name expected in {folder}"
            )
        if name != NO_OBJECT:
            parts = _parts(name)
            found[class_id] = frozenset(other for other in known if parts & known[other])
    return found


def rationale_scores(
    clip: ExplainedClip, action: int, objects: frozenset[str]
) -> dict[str, float] | None:
    """Return how well the reason of an action of the video agrees with its annotation.

    G are the tokens of an object of the action during the action, V all tokens, and R the tokens of
    the reason. The names with `chance` have the expected values of random tokens of V.

    - `rationale precision`: |R & G| / |R|; by chance |G| / |V|.
    - `rationale recall`: |R & G| / |G|; by chance |R| / |V|.
    - `pointing`: 1 if the token with the largest leave-one-out contribution is in G; by chance
      |G| / |V|.
    - `pointing in time`: 1 if the time of this token is during the action; by chance the share of V
      during the action.

    Args:
        clip: clip in which the action is explained.
        action: column of an action of the video.
        objects: object classes that are an object of the action.

    Returns:
        The values. None if G is empty. Precision and recall are missing if R is empty, and pointing
        if no token is kept.
    """
    rows, evidence = clip.tokens.rows, clip.support[action].evidence
    times_s = torch.tensor([row.time_s for row in rows], dtype=torch.float64)
    during = action_frames(clip.clip.header, times_s, len(clip.scores))[action].tolist()
    inside = {row.id for row, holds in zip(rows, during, strict=True) if holds}
    good = {token for token in inside if rows[token].object.class_ in objects}
    if not good:
        return None
    found: dict[str, float] = {}
    reason = {*clip.reasons[action].tokens}
    if reason:
        found |= {
            "rationale precision": len(reason & good) / len(reason),
            "rationale precision, chance": len(good) / len(rows),
            "rationale recall": len(reason & good) / len(good),
            "rationale recall, chance": len(reason) / len(rows),
        }
    if evidence:
        first = evidence[0].token
        found |= {
            "pointing": float(first in good),
            "pointing, chance": len(good) / len(rows),
            "pointing in time": float(first in inside),
            "pointing in time, chance": len(inside) / len(rows),
        }
    return found


def _parts(name: str) -> set[str]:
    return {normalize_name(part) for part in (name, *name.split("/"))}


def _rows(path: Path, columns: int) -> list[list[str]]:
    if not path.is_file():
        raise UsageError(f"--annotations: {path.name} not found in {path.parent}")
    rows = []
    for number, line in enumerate(read_text(path, errors="replace").splitlines(), 1):
        row = line.split(maxsplit=columns - 1)
        if len(row) != columns:
            raise UsageError(f"{path}:{number}: {columns} columns expected, got {line[:40]!r}")
        rows.append(row)
    return rows
