"""Scores of the network under changes of the tokens of a clip."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from model.tokens import TokenBatch
from tools.proofs.faithfulness.clips import ExplainedClip, Network

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
    for name, value in vars(batch).items():
        if name == "mask" or value is None:
            continue
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
    kept, reason = clip.tokens.kept, clip.reasons[action]["tokens"]
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


def order_scores(clip: ExplainedClip, action: int, rng: np.random.Generator) -> dict[str, float]:
    """Return the mean score while tokens are deleted, or inserted, in order of contribution.

    The mean is over evenly spaced numbers of tokens. The names with `random` have the means over
    random orders.
    """
    by_weight = [part["token"] for part in clip.support[action]["evidence"]]
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


def _less(tokens: Sequence[int], others: Sequence[int]) -> list[int]:
    """Return tokens without some others."""
    return [token for token in tokens if token not in others]
