from collections.abc import Callable, Sequence
from itertools import combinations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from model.minimal_reason import TOLERANCE, minimal_reasons, smallest_reasons

Score = Callable[[Sequence[frozenset[int]]], Tensor]


def scorer(*rules: Callable[[frozenset[int]], float]) -> Score:
    """Return a scorer with one action per rule."""
    return lambda sets: torch.tensor([[rule(s) for rule in rules] for s in sets])


def test_a_reason_is_the_planted_set_also_if_it_is_redundant() -> None:
    score = scorer(
        lambda s: 0.9 if {1, 3} <= s else 0.1,
        lambda s: 0.9 if s & {2, 4} else 0.0,  # either token is enough
        lambda s: 0.97 - 0.01 * len(s),  # no token is needed
        lambda s: 0.9 * len(s & {0, 2, 5}) / 3,
    )
    first, second, third, fourth = minimal_reasons(score, range(6), [0, 1, 2, 3], [(0, 1), (1, 3)])
    assert (first.tokens, first.action) == ((1, 3), 0)
    assert [round(v, 3) for v in (first.score_only, first.score_without)] == [0.9, 0.1]
    assert second.tokens == (2,)  # tie: the smallest number
    assert round(second.score_without, 3) == 0.9
    assert third.tokens == ()
    assert fourth.tokens == (0, 2, 5)


def test_greedy_addition_is_followed_by_deletion() -> None:
    # Token 4 is best at first, but {0, 1, 2} suffices without it.
    score = scorer(lambda s: 0.9 if {0, 1, 2} <= s else 0.1 * len(s & {0, 1, 2}) + 0.35 * (4 in s))
    (reason,) = minimal_reasons(score, range(5), [0])
    assert reason.tokens == (0, 1, 2)


def test_certainty_decides_between_sets_of_one_size() -> None:
    score = scorer(lambda s: 0.9 if s & {0, 1, 2} else 0.0)
    (reason,) = minimal_reasons(score, range(3), [0], certainty={0: 0.1, 1: 0.5, 2: 0.2})
    assert reason.tokens == (1,)


def test_without_kept_tokens_no_token_is_needed() -> None:
    (reason,) = minimal_reasons(scorer(lambda s: 0.3), [], [0])
    assert (reason.tokens, reason.score_only) == ((), reason.score)
    assert reason.target == reason.score - TOLERANCE
    assert minimal_reasons(scorer(lambda s: 0.3), [], []) == []


@given(st.integers(0, 10**6), st.integers(1, 6))
def test_reasons_suffice_and_lose_no_token_more(seed: int, num: int) -> None:
    g = torch.Generator().manual_seed(seed)
    values = {frozenset(s): torch.rand(2, generator=g) for n in range(num + 1)
              for s in combinations(range(num), n)}  # fmt: skip

    def score(sets: Sequence[frozenset[int]]) -> Tensor:
        return torch.stack([values[frozenset(s)] for s in sets])

    sizes = smallest_reasons(score, range(num), [0, 1], largest=num)
    for reason, size in zip(minimal_reasons(score, range(num), [0, 1]), sizes, strict=True):
        found = frozenset(reason.tokens)
        target = float(values[frozenset(range(num))][reason.action]) - TOLERANCE
        assert float(values[found][reason.action]) >= target
        if len(found) > 1:
            assert all(float(values[found - {i}][reason.action]) < target for i in found)
        assert size is not None
        assert size <= len(found)
        assert (size == 0) == (len(found) == 0)
        assert (size == 1) == (len(found) == 1)
        brute = min(len(s) for s, v in values.items() if float(v[reason.action]) >= target)
        assert size == brute


def test_exhaustive_search_stops_at_a_size() -> None:
    score = scorer(lambda s: 0.9 if {0, 1, 2, 3} <= s else 0.0, lambda s: 0.9 if {1, 2} <= s else 0)
    assert smallest_reasons(score, range(5), [0, 1]) == [None, 2]
