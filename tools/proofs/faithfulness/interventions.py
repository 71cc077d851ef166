"""Scores of the network under changes of the tokens of a clip."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from model.label_bank import LabelBank
from model.minimal_reason import smallest_reasons
from model.token_scorer import TokenEdit
from model.tokens import TokenBatch
from pipeline.explanation.explained_clip import ExplainedClip, Network

#: Random subsets and orders per action.
DRAWS = 5
#: Largest number of points of a curve of deletion or insertion.
POINTS = 9


def discard_change(network: Network, clip: ExplainedClip, seed: int) -> float:
    """Return the largest change of a logit when all discarded tokens show something else.

    The features, labels and tracks of the discarded tokens are permuted among all tokens, and their
    features are scaled. The kept tokens and their places stay the same.
    """
    batch = clip.clip_tokens.batch
    kept = torch.zeros(clip.scorer.num_tokens, dtype=torch.bool)
    kept[clip.tokens.kept] = True
    keep = torch.zeros_like(batch.mask)
    keep[0, batch.mask[0]] = kept
    order = torch.randperm(len(kept), generator=torch.Generator().manual_seed(seed))
    packed = {}
    for name, value in batch.packed.items():
        other = value[order] * (3 if value.is_floating_point() else 1)
        packed[name] = torch.where(kept.view(-1, *[1] * (value.ndim - 1)), value, other)
    changed: TokenBatch = replace(batch, **packed)
    with torch.inference_mode():
        before, after = (
            network.model.recognize(
                tokens.to(network.device), keep=keep.to(network.device), gather=True
            ).logits
            for tokens in (batch, changed)
        )
    return float((before - after).abs().max())


def reason_scores(clip: ExplainedClip, action: int, rng: np.random.Generator) -> dict[str, float]:
    """Return how much of the score the reason keeps and how much its absence costs.

    `sufficiency` is p(S) - p(R) and `necessity` p(S) - p(S - R), with S the kept tokens and R the
    tokens of the reason. The names with `random` have the means over random subsets of S of the
    same size. `empty` is p(S) - p({}).
    """
    kept, reason = clip.tokens.kept, [*clip.reasons[action].tokens]
    drawn = [rng.choice(kept, len(reason), replace=False).tolist() for _ in range(DRAWS)]
    subsets = [[], kept, reason, _less(kept, reason), *drawn, *(_less(kept, d) for d in drawn)]
    p = clip.scorer.scores(clip.scorer.subsets(subsets))[:, action].cpu().numpy()
    return {
        "sufficiency": float(p[1] - p[2]),
        "sufficiency_random": float(p[1] - p[4 : 4 + DRAWS].mean()),
        "necessity": float(p[1] - p[3]),
        "necessity_random": float(p[1] - p[4 + DRAWS :].mean()),
        "empty": float(p[1] - p[0]),
    }


def extra_tokens(clip: ExplainedClip) -> list[int]:
    """Return how many tokens each reason has more than the smallest set that suffices.

    Sets of at most three tokens are searched exhaustively. Actions without such a set are left out.
    """
    actions = list(clip.reasons)
    sizes = smallest_reasons(
        lambda sets: clip.scorer.scores(clip.scorer.subsets(sets)), clip.tokens.kept, actions
    )
    return [
        len(clip.reasons[action].tokens) - size
        for action, size in zip(actions, sizes, strict=True)
        if size is not None
    ]


def order_scores(clip: ExplainedClip, action: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the mean score while tokens are deleted, or inserted, in order of contribution.

    The mean is over evenly spaced numbers of tokens. The names with `random` have the means over
    random orders.
    """
    by_weight = [part.token for part in clip.support[action].evidence]
    orders = [by_weight, *(rng.permutation(by_weight).tolist() for _ in range(DRAWS))]
    sizes = np.unique(np.linspace(0, len(by_weight), POINTS).round().astype(int))
    subsets = [order[i:] for order in orders for i in sizes]
    subsets += [order[:i] for order in orders for i in sizes]
    p = clip.scorer.scores(clip.scorer.subsets(subsets))[:, action].cpu().numpy()
    deleted, inserted = p.reshape(2, len(orders), len(sizes)).mean(2)
    return {
        "deletion": float(deleted[0]),
        "deletion_random": float(deleted[1:].mean()),
        "insertion": float(inserted[0]),
        "insertion_random": float(inserted[1:].mean()),
    }


def edit_scores(clip: ExplainedClip, action: int, rng: np.random.Generator) -> dict[str, float]:
    """Return how much of the score is lost when a change is undone.

    `undone` is the loss if the change that the reason states is undone, and `undone, random` the
    loss if a random transition of another track is undone instead. Empty if the reason states no
    change, or there is no such transition.
    """
    reason = clip.reasons[action]
    others = [row for row in clip.transitions if row.track != reason.track]
    if reason.score_if_unchanged is None or not others:
        return {}
    drawn = others[int(rng.integers(len(others)))]
    p = clip.scorer.scores(clip.scorer.subsets([clip.tokens.kept] * 2), [
        clip.tokens.undone(*drawn.tokens, drawn.group), None,
    ])[:, action].tolist()  # fmt: skip
    return {"undone": p[1] - reason.score_if_unchanged, "undone_random": p[1] - p[0]}


def name_scores(
    bank: LabelBank, clip: ExplainedClip, rng: np.random.Generator
) -> dict[str, list[float]]:
    """Return how much scores change when the names replace the tokens.

    The visual embedding of each kept token is replaced by the language embedding of its name. As a
    control, each kept token gets the name of a random label of its classes.

    Returns:
        For each explained action, the absolute change of its score.
    """
    kept = clip.tokens.kept
    said = torch.tensor(
        [[word in clip.tokens.label(i) for word in clip.tokens.words] for i in kept]
    )
    drawn = []
    for token, own in zip(kept, said, strict=True):
        known = bank.predicates[bank.of_pair(clip.tokens.pairs[token])]
        drawn.append(_random_label(bank, known, rng) if len(known) else own)
    if not kept:
        return {"names": [], "names_random": []}
    rows = torch.tensor(kept)
    edits = [TokenEdit(rows, said, None), TokenEdit(rows, torch.stack(drawn), None), None]
    p = clip.scorer.scores(clip.scorer.subsets([kept] * 3), edits).cpu()[:, list(clip.reasons)]
    return {
        "names": (p[0] - p[2]).abs().tolist(),
        "names_random": (p[1] - p[2]).abs().tolist(),
    }


def _random_label(bank: LabelBank, known: Tensor, rng: np.random.Generator) -> Tensor:
    """Draw a known label; from a bank with single predicates, one predicate of each group."""
    if not bank.is_single:
        return known[int(rng.integers(len(known)))]
    label = torch.zeros_like(known[0])
    for columns in torch.arange(len(label)).split(list(bank.group_sizes)):
        words = columns[known[:, columns].any(0)].tolist()
        if words:
            label[int(rng.choice(words))] = True
    return label


def _less(tokens: Sequence[int], others: Sequence[int]) -> list[int]:
    """Return tokens without some others."""
    return [token for token in tokens if token not in others]
