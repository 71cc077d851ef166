import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from model.transitions import TransitionEncoder, previous_kept


def draw(seed: int, B: int, T: int, K: int) -> tuple[Tensor, Tensor, Tensor]:
    """Draw tokens, kept tokens, and tracks with at most one token per frame."""
    g = torch.Generator().manual_seed(seed)
    tracks = torch.stack([torch.randperm(K + 1, generator=g)[:K] for _ in range(B * T)])
    keep = torch.rand(B, T, K, generator=g) < 0.6
    return torch.randn(B, T, K, 4, generator=g), keep, tracks.view(B, T, K)


seeds = st.integers(0, 2**31)


@given(seed=seeds, K=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_previous_kept_token_equals_plain_loops(seed: int, K: int) -> None:
    _, keep, tracks = draw(seed, 2, 4, K)
    place, exists = previous_kept(keep, tracks)
    for b in range(2):
        for t in range(4):
            for k in range(K):
                wanted = None
                for earlier in range(t):
                    for other in range(K):
                        linked = tracks[b, earlier, other] == tracks[b, t, k]
                        if linked and keep[b, earlier, other] and keep[b, t, k]:
                            wanted = earlier * K + other
                here = t * K + k
                assert bool(exists[b, here]) == (wanted is not None)
                assert int(place[b, here]) == (wanted or 0)


@given(seed=seeds)
@settings(max_examples=15, deadline=None)
def test_kept_tokens_do_not_depend_on_discarded_tokens(seed: int) -> None:
    torch.manual_seed(0)
    net = TransitionEncoder(4)
    tokens, keep, tracks = draw(seed, 2, 4, 3)
    other = torch.where(keep[..., None], tokens, 1e4)
    with torch.no_grad():
        first, second = net(tokens, keep, tracks), net(other, keep, tracks)
    assert torch.equal(first[keep], second[keep])


def test_transitions_see_the_order_of_frames() -> None:
    torch.manual_seed(0)
    net, tokens = TransitionEncoder(4), torch.randn(1, 3, 1, 4)
    keep, tracks = torch.ones(1, 3, 1, dtype=torch.bool), torch.zeros(1, 3, 1, dtype=torch.int64)
    with torch.no_grad():
        forward, backward = net(tokens, keep, tracks), net(tokens.flip(1), keep, tracks)
    assert not torch.allclose(forward.sum(1), backward.sum(1), atol=1e-3)
