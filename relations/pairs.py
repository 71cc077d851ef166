"""Pairs of the boxes of a frame."""

from collections.abc import Collection, Sequence

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from relations.settings import PairGroups

PERSON = 0
#: Kinds of pairs: class of the first box, or None, and classes of the second box.
Kinds = Sequence[tuple[int | None, Collection[int]]]


def human_object_pairs(
    labels: Int64[Tensor, "N"], scores: Float[Tensor, "N"], human: int | None = None
) -> Int64[Tensor, "P 2"]:
    """Pair one human with every non-human box.

    All other humans are ignored.

    Args:
        labels: object classes of the boxes. Class 0 is the person.
        scores: scores of the boxes.
        human: row of the human. If None, it is the human with the highest score, and of several
            such humans the first one.

    Returns:
        Rows (human, object) of the pairs, in the order of the object rows. The shape is (0, 2) if
        there is no human or no object.
    """
    is_human = labels == PERSON
    objects = (~is_human).nonzero()[:, 0]
    if not bool(is_human.any()):
        return labels.new_zeros(0, 2)
    if human is None:
        human = human_row(labels, scores)
    return torch.stack([torch.full_like(objects, human), objects], 1)


def pairs_of_kinds(
    labels: Int64[Tensor, "N"],
    scores: Float[Tensor, "N"],
    kinds: Kinds,
    human: int | None = None,
) -> Int64[Tensor, "P 2"]:
    """Pair the boxes of some classes, kind by kind.

    Args:
        labels: object classes of the boxes. Class 0 is the person.
        scores: scores of the boxes.
        kinds: class of the first box of each pair, and the classes of the second box. If the first
            class is None, each object is paired with itself. Of several humans, one is paired. If
            there are no kinds, the human is paired with every other box (`human_object_pairs`).
        human: row of the human, see `human_object_pairs`.

    Returns:
        Rows (first, second) of the pairs, sorted by kind, then by second row.
    """
    if not kinds:
        return human_object_pairs(labels, scores, human)
    found = []
    for subject, classes in kinds:
        objects = [row for row, label in enumerate(labels.tolist()) if label in classes]
        if subject is None:
            found += [(row, row) for row in objects]
            continue
        subjects = (labels == subject).nonzero()[:, 0].tolist()
        if subject == PERSON and subjects:
            subjects = [human_row(labels, scores) if human is None else human]
        found += [(first, row) for row in objects for first in subjects if first != row]
    return torch.tensor(found, dtype=torch.int64, device=labels.device).reshape(-1, 2)


def pairs_have_groups(
    labels: Int64[Tensor, "N"],
    pairs: Int64[Tensor, "P 2"],
    kinds: Sequence[PairGroups],
    groups: Sequence[str],
) -> Bool[Tensor, "P G"]:
    """Return which groups of predicates the pairs have.

    Args:
        labels: object classes of the boxes.
        pairs: rows of the boxes.
        kinds: classes and groups of the kinds of pairs. If there are no kinds, every pair has all
            groups. A pair of no kind has no group.
        groups: names of all groups, G.
    """
    found = torch.full((len(pairs), len(groups)), not kinds, device=pairs.device)
    first, second = pairs.unbind(1)
    for subject, objects, names in kinds:
        if subject is None:
            mine = first == second
        else:
            mine = (labels[first] == subject) & (first != second)
        mine = mine & torch.isin(labels[second], labels.new_tensor(objects))
        found |= mine[:, None] & torch.tensor([g in names for g in groups], device=pairs.device)
    return found


def human_row(labels: Int64[Tensor, "N"], scores: Float[Tensor, "N"]) -> int:
    """Return the row of the human with the highest score; of several such humans, the first one.

    There must be a human.
    """
    return int(scores.masked_fill(labels != PERSON, float("-inf")).argmax())
