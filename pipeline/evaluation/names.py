"""Scores of the names and the tracks of tokens."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor

#: Status of a name, see `pipeline.explanation.naming.status_of`.
STATUSES = ("confident", "uncertain", "unknown")


@dataclass(frozen=True)
class TokenNames:
    """Names of M tokens.

    Attributes:
        predicates: (M, R) bool, True for all predicates of the label.
        shown: (M, G) int64 predicate that is shown per predicate group, -1 if there is none.
        status: (M, G) int64 index into `STATUSES` per predicate group.
    """

    predicates: Tensor
    shown: Tensor
    status: Tensor


def count_links(
    classes: tuple[str, ...], tracks: Tensor, threads: Tensor
) -> Counter[tuple[str, bool]]:
    """Count right and wrong links between consecutive tokens of a track.

    A link is right if both tokens have the same thread. Links of tokens without a thread are
    ignored.

    Args:
        classes: object class of each thread.
        tracks: (M,) int64 track of each token, in the order of the frames.
        threads: (M,) int64 thread of each token, -1 if it is unknown.

    Returns:
        Number of links by (where, is right). `where` is `all`, `clips_with_repeated_class` (links
        of clips in which a class has two threads) or `repeated_class` (links of such a class).
    """
    repeated = {name for name in classes if classes.count(name) > 1}
    found: Counter[tuple[str, bool]] = Counter()
    last: dict[int, int] = {}
    for track, thread in zip(tracks.tolist(), threads.tolist(), strict=True):
        before, last[track] = last.get(track, -1), thread
        if min(before, thread) < 0:
            continue
        found["all", before == thread] += 1
        found["clips_with_repeated_class", before == thread] += bool(repeated)
        found["repeated_class", before == thread] += classes[thread] in repeated
    return found


def score_names(named: TokenNames, true: Tensor, group_sizes: dict[str, int]) -> dict[str, Any]:
    """Compare names with true predicates.

    A name is right if the predicate that it shows is true. It is exact if its predicates are the
    true predicates. A group ignores the tokens without a true predicate in this group.

    Args:
        named: names of M tokens.
        true: (M, R) bool true predicates.
        group_sizes: number of predicates of each group, in index order.

    Returns:
        JSON tree. Each of its `groups` has the number of `tokens`, the shares of `right` and of
        `exact` names, `macro_recall` (mean over the predicates that occur, of the share of their
        tokens for which they are named), and the share of tokens and of right names per status.
        `all_groups` has the shares of tokens for which the names of all groups are right, and
        exact. `all_names` has the shares of all names of all groups by status.
    """
    groups: dict[str, Any] = {}
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    every: Counter[tuple[str, bool]] = Counter()
    start = 0
    for g, (group, size) in enumerate(group_sizes.items()):
        ours, theirs = (part[:, start : start + size] for part in (named.predicates, true))
        counts, shown = theirs.any(1), named.shown[:, g]
        right = theirs.gather(1, (shown - start).clamp(min=0)[:, None])[:, 0] & (shown >= 0)
        exact = (ours == theirs).all(1)
        start += size
        columns.append((counts, right, exact))
        total = int(counts.sum())
        occurs = theirs.any(0)
        recall = (ours & theirs).sum(0)[occurs] / theirs.sum(0)[occurs]
        status = {}
        for s, name in enumerate(STATUSES):
            rows = counts & (named.status[:, g] == s)
            status[name] = {
                "share": share_of(int(rows.sum()), total),
                "right": share_of(int((rows & right).sum()), int(rows.sum())),
            }
            every[name, True] += int((rows & right).sum())
            every[name, False] += int((rows & ~right).sum())
        groups[group] = {
            "tokens": total,
            "right": share_of(int((counts & right).sum()), total),
            "exact": share_of(int((counts & exact).sum()), total),
            "macro_recall": float(recall.double().mean()) if total else None,
            "status": status,
        }
    joined = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    tokens, *shares = all_groups(*joined)
    both = dict(zip(("tokens", "right", "exact"), (tokens, *shares), strict=True))
    names = {
        name: {
            "share": share_of(every[name, True] + every[name, False], every.total()),
            "right": share_of(every[name, True], every[name, True] + every[name, False]),
        }
        for name in STATUSES
    }
    return {"groups": groups, "all_groups": both, "all_names": names}


def all_groups(
    known: Bool[Tensor, "M G"], right: Bool[Tensor, "M G"], exact: Bool[Tensor, "M G"]
) -> tuple[int, float | None, float | None]:
    """Count the tokens whose names are right, and exact, in all groups that count.

    Args:
        known: whether each of G groups counts for each of M tokens.
        right: whether each name is right.
        exact: whether each name is exact.

    Returns:
        The number of tokens for which a group counts, and the shares of right and exact ones.
    """
    counts = known.any(1)
    total = int(counts.sum())
    whole = [(counts & (column | ~known).all(1)).sum() for column in (right, exact)]
    return total, share_of(int(whole[0]), total), share_of(int(whole[1]), total)


def share_of(part: int, whole: int) -> float | None:
    """Return part / whole, None if both are 0."""
    return part / whole if whole else None
