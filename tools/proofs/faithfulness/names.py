"""Truth of the names of kept tokens."""

import torch
from torch import Tensor

from model.label_bank import LabelBank
from pipeline.explanation.explained_clip import ExplainedClip
from tools.world.true_relations import Truth


def name_truth(bank: LabelBank, clip: ExplainedClip, truth: Truth) -> dict[str, list[float]]:
    """Return whether the names of the kept tokens are true.

    A name is true if the predicate that it shows is true. Tokens without a true object, and groups
    without a true predicate, are left out. The control `most frequent of class` is the most
    frequent label of the token's object class in the label bank, and `most frequent` that of all
    object classes.

    Args:
        bank: label bank of the network.
        clip: clip with named tokens.
        truth: true predicates of all tokens of the clip.

    Returns:
        For each group and each of the three names, one value per token.
    """
    words, groups = clip.tokens.words, list(clip.tokens.groups)
    found: dict[str, list[float]] = {}
    for token in clip.tokens.kept:
        if int(truth.threads[token]) < 0:
            continue
        true = {words[i] for i in truth.predicates[token].nonzero()[:, 0].tolist()}
        names = {
            "": [clip.tokens.name(token, group).predicate for group in groups],
            ", most frequent of class": _words(
                words, most_frequent(bank, clip.tokens.pairs[token])
            ),
            ", most frequent": _words(words, most_frequent(bank)),
        }
        for end, said in names.items():
            for group, word in zip(groups, said, strict=True):
                if true & {*clip.tokens.groups[group]}:
                    found.setdefault(f"name is true, {group}{end}", []).append(word in true)
    return found


def most_frequent(bank: LabelBank, pair: Tensor | None = None) -> list[int]:
    """Return the predicate of each group that the most frequent label shows.

    As in `LabelBank.name`, a label shows its rarest predicate of the group. In a bank with single
    predicates, there is a most frequent label in each group.

    Args:
        bank: the label bank.
        pair: (2,) object classes of the human and the object of the label; None for all. Equal
            predicates of several classes then count as one label.

    Returns:
        One index into all predicates per group, -1 if there is no such predicate.
    """
    own = torch.ones_like(bank.counts, dtype=torch.bool) if pair is None else bank.of_pair(pair)
    count = (bank.counts[:, None] * bank.predicates).sum(0).tolist()
    shown = []
    for columns in torch.arange(bank.predicates.shape[1]).split(list(bank.group_sizes)):
        rows = own & bank.predicates[:, columns].any(1) if bank.is_single else own
        if not rows.any():
            shown.append(-1)
            continue
        labels, row = bank.predicates[rows].unique(dim=0, return_inverse=True)
        totals = torch.zeros(len(labels), dtype=torch.int64).index_add_(0, row, bank.counts[rows])
        label = labels[int(totals.argmax())]
        said = columns[label[columns]].tolist()
        shown.append(min(said, key=count.__getitem__, default=-1))
    return shown


def _words(words: tuple[str, ...], predicates: list[int]) -> list[str | None]:
    return [None if index < 0 else words[index] for index in predicates]
