import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.readout import FIRST_SCORE, FIRST_TOKENS, Readout
from tests.model.batches import random_batch
from tests.model.test_laiar import small


@given(seed=st.integers(0, 2**31), L=st.integers(0, 4))
@settings(max_examples=20, deadline=None)
def test_logits_equal_plain_loops(seed: int, L: int) -> None:
    g = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    head = Readout(6, 3, votes=True).double()
    assert head.token is not None
    z, tokens = torch.randn(2, 6, generator=g).double(), torch.randn(2, L, 12, generator=g).double()
    gate = (torch.rand(2, L, generator=g) < 0.5).double()
    with torch.no_grad():
        head.token.bias.copy_(torch.randn(3, generator=g) * 3)
        logits = head(z, tokens, gate)
        for b in range(2):
            for c in range(3):
                total = 1.0
                for i in range(L):
                    if gate[b, i]:
                        vote = head.token.weight[c] @ tokens[b, i] + head.token.bias[c]
                        total += float(vote.exp())
                wanted = float(head.weight[c] @ z[b] + head.bias[c])
                wanted += math.log(total)
                torch.testing.assert_close(float(logits[b, c]), wanted, atol=1e-5, rtol=1e-5)


def test_votes_read_the_inputs_without_positions() -> None:
    model, batch = small(), random_batch(torch.ones(1, 3, 2, dtype=torch.bool))
    later = replace(batch, times_s=batch.times_s + 1.0)
    inputs = []
    with torch.no_grad():
        for tokens in (batch, later):
            local, _, _ = model.video_tokens(tokens)
            encoder = model.token_encoder
            assert encoder is not None
            inputs.append(model.former(local, tokens.grid, encoder, keep=tokens.mask).tokens)
    outputs, own = torch.stack(inputs).chunk(2, -1)
    assert torch.equal(own[0], own[1])
    assert not torch.allclose(outputs[0], outputs[1], atol=1e-3)


def test_large_votes_of_discarded_tokens_have_finite_gradients_and_no_effect() -> None:
    head = Readout(1, 1, votes=True)
    assert head.token is not None
    torch.nn.init.constant_(head.token.weight, 1.0)
    tokens = torch.tensor([[[1.0, 1.0], [500.0, 500.0]]], requires_grad=True)
    gate = torch.tensor([[1.0, 0.0]], requires_grad=True)
    logits = head(torch.zeros(1, 1), tokens, gate)
    alone = head(torch.zeros(1, 1), tokens[:, :1], gate[:, :1])
    torch.testing.assert_close(logits, alone)
    logits.sum().backward()
    assert gate.grad is not None
    assert bool(torch.isfinite(gate.grad).all())
    assert float(gate.grad[0, 1]) > 0


def test_the_strongest_vote_has_the_gradient_of_the_formula() -> None:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    head = Readout(4, 3, votes=True).double()
    assert head.token is not None
    torch.nn.init.zeros_(head.token.bias)
    z = torch.zeros(2, 4).double()
    tokens = torch.randn(2, 5, 8, generator=g).double().mul(3).requires_grad_()
    gate = torch.tensor([1.0, 1.0, 0.0, 1.0, 0.5]).double().expand(2, -1)
    votes = head.token(tokens)
    assert bool((votes[:, :2].amax(1) > 0).any())
    plain = (1 + (votes.exp() * gate[..., None]).sum(1)).log()
    expected = torch.autograd.grad(plain.square().sum(), (tokens, head.token.weight))
    logits = head(z, tokens, gate) - head.bias
    found = torch.autograd.grad(logits.square().sum(), (tokens, head.token.weight))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("votes", [True, False])
def test_scores_are_small_before_the_training(votes: bool) -> None:
    torch.manual_seed(0)
    head = Readout(128, 157, votes=votes)
    z, tokens = torch.randn(8, 128), torch.randn(8, FIRST_TOKENS, 256)
    logits = head(z, tokens, torch.ones(8, FIRST_TOKENS))
    assert float(logits.detach().mean()) == pytest.approx(
        math.log(FIRST_SCORE / (1 - FIRST_SCORE)), abs=0.2
    )
    many = head(z, tokens.repeat(1, 4, 1), torch.ones(8, 4 * FIRST_TOKENS))
    assert float(many.detach().sigmoid().mean()) < 0.1
