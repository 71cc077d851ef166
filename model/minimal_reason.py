"""Minimal reasons: small sets of kept tokens from which an action is predicted as from all."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from jaxtyping import Float
from torch import Tensor

#: Scores (n, C) of n subsets of tokens.
Scorer = Callable[[Sequence[frozenset[int]]], Float[Tensor, "n C"]]
#: Largest loss of score that a minimal reason is allowed.
TOLERANCE = 0.05


@dataclass(frozen=True)
class MinimalReason:
    """Minimal reason R of an action.

    Attributes:
        action: column of the action.
        tokens: tokens of R, in ascending order. R is empty if no token is needed.
        score: score p(S) from all kept tokens S.
        score_only: score p(R) from the tokens of R alone.
        score_without: score p(S - R) from all other kept tokens.
    """

    action: int
    tokens: tuple[int, ...]
    score: float
    score_only: float
    score_without: float

    @property
    def target(self) -> float:
        """Smallest score from which a set of tokens suffices, p(S) - TOLERANCE."""
        return self.score - TOLERANCE


@dataclass
class _Search:
    """State of the search for one action."""

    action: int
    target: float
    found: frozenset[int] = frozenset()
    score: float = 0.0
    done: bool = False


def minimal_reasons(
    score: Scorer,
    kept: Sequence[int],
    actions: Sequence[int],
    pairs: Sequence[tuple[int, int]] = (),
    certainty: Mapping[int, float] | None = None,
) -> list[MinimalReason]:
    """Find a minimal reason for each action.

    A minimal reason is the smallest set R of kept tokens that was found with

        p(R) >= p(S) - TOLERANCE.

    No token, single tokens, and then pairs of tokens are tried first. Of several sets of the same
    size that suffice, R is the one whose least certain token is the most certain; ties are broken
    by the score, then by the numbers of the tokens. If none of them suffices, tokens are added to
    the one with the highest score, one by one, each time the token that leads to the highest score
    (greedy addition). Tokens are then removed as long as the rest suffices, each time the token
    whose removal leaves the highest score (deletion). Deletion from S alone would not find R:
    tokens with the same content replace each other.

    Args:
        score: computes the scores of subsets.
        kept: the kept tokens S.
        actions: columns of the actions.
        pairs: pairs of kept tokens that can form a change, such as consecutive tokens of a track.
        certainty: certainty of the names of each kept token. If None, all are equally certain.

    Returns:
        One reason per action, in the order of `actions`.
    """
    everything, nothing = frozenset(kept), frozenset[int]()
    first = [nothing, everything, *({i} for i in sorted(kept)), *map(frozenset, sorted(pairs))]
    starts = [frozenset(s) for s in first]
    table = score(starts).double().tolist()
    searches = []
    for action in actions:
        search = _Search(action, table[1][action] - TOLERANCE)
        _start(search, starts, [row[action] for row in table], certainty or {})
        searches.append(search)
    while active := [s for s in searches if not s.done]:
        views = [[s.found | {i} for i in sorted(everything - s.found)] for s in active]
        _choose(score, active, views)
        for search in active:
            search.done = search.score >= search.target or search.found == everything
    active = [s for s in searches if len(s.found) > 1]
    while active:
        views = [[s.found - {i} for i in sorted(s.found)] for s in active]
        before = [s.found for s in active]
        _choose(score, active, views, least=True)
        active = [
            s for s, old in zip(active, before, strict=True) if s.found != old and len(s.found) > 1
        ]
    if not searches:
        return []
    rest = score([everything - s.found for s in searches]).double()
    return [
        MinimalReason(
            s.action,
            tuple(sorted(s.found)),
            table[1][s.action],
            s.score,
            float(row[s.action]),
        )
        for s, row in zip(searches, rest, strict=True)
    ]


def smallest_reasons(
    score: Scorer, kept: Sequence[int], actions: Sequence[int], *, largest: int = 3
) -> list[int | None]:
    """Find the size of the smallest sufficient set of each action by exhaustive search.

    Args:
        score: computes the scores of subsets.
        kept: the kept tokens S.
        actions: columns of the actions.
        largest: size up to which all sets are tried.

    Returns:
        For each action, the size of the smallest set with p >= p(S) - TOLERANCE, or None if it is
        larger than `largest`.
    """
    target = score([frozenset(kept)])[0].double() - TOLERANCE
    sizes: dict[int, int] = {}
    for size in range(min(largest, len(kept)) + 1):
        best = score([frozenset(s) for s in combinations(sorted(kept), size)]).double().amax(0)
        for action in actions:
            if action not in sizes and float(best[action]) >= float(target[action]):
                sizes[action] = size
    return [sizes.get(action) for action in actions]


def _start(
    search: _Search,
    sets: list[frozenset[int]],
    scores: list[float],
    certainty: Mapping[int, float],
) -> None:
    """Start with the smallest of some sets that suffices, or with the best of them."""

    def rank(i: int) -> tuple[int, float, float, list[int]]:
        sure = min((certainty.get(token, 0.0) for token in sets[i]), default=0.0)
        return len(sets[i]), -sure, -scores[i], sorted(sets[i])

    order = sorted(range(len(sets)), key=rank)
    small = [i for i in order if len(sets[i]) <= 2]
    enough = [i for i in small if scores[i] >= search.target]
    best = enough[0] if enough else max(small, key=lambda i: scores[i])
    search.found, search.score = sets[best], scores[best]
    search.done = bool(enough)


def _choose(
    score: Scorer,
    searches: list[_Search],
    views: list[list[frozenset[int]]],
    *,
    least: bool = False,
) -> None:
    """Replace each search's set by the best of its candidates.

    With `least`, only if the candidate suffices.
    """
    table = score([view for part in views for view in part]).double()
    for search, part, scores in zip(
        searches, views, table.split([len(part) for part in views]), strict=True
    ):
        column = scores[:, search.action]
        best = int(column.argmax())
        if not least or float(column[best]) >= search.target:
            search.found, search.score = part[best], float(column[best])
