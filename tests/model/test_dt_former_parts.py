import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.selector import TokenSelector, frame_means, random_excerpts, random_subsets
from model.transformer import GatedAttention, TransformerEncoder, unpack


@pytest.mark.parametrize("learns", [True, False])
def test_gated_attention_equals_plain_loops(learns: bool) -> None:
    torch.manual_seed(0)
    layer = GatedAttention(6, 2, 0.0).eval()
    x, gate = torch.randn(1, 4, 6), torch.tensor([[1.0, 0.0, 1.0, 0.5]], requires_grad=learns)
    qkv = layer.qkv(x)[0].tolist()
    mixed = [[0.0] * 6 for _ in range(4)]
    for h in range(2):
        for i in range(4):
            weights = []
            for j in range(4):
                dot = sum(qkv[i][h * 3 + d] * qkv[j][6 + h * 3 + d] for d in range(3))
                weights.append(float(gate[0, j].detach()) * math.exp(dot / math.sqrt(3)))
            for d in range(3):
                values = [w * qkv[j][12 + h * 3 + d] for j, w in enumerate(weights)]
                mixed[i][h * 3 + d] = sum(values) / sum(weights)
    expected = layer.out(torch.tensor([mixed]))
    found = layer(x[0], gate, torch.arange(4))
    torch.testing.assert_close(found, expected[0], atol=1e-5, rtol=1e-4)


def encoder() -> TransformerEncoder:
    torch.manual_seed(0)
    return TransformerEncoder(8, 2, layers=2, mlp_ratio=2.0, dropout=0.1).eval()


@given(st.lists(st.booleans(), min_size=1, max_size=7), st.integers(0, 2**31))
@settings(max_examples=30, deadline=None)
def test_token_with_gate_zero_has_no_effect(keep: list[bool], seed: int) -> None:
    net, g = encoder(), torch.Generator().manual_seed(seed)
    x = torch.randn(1, len(keep) + 1, 8, generator=g)
    gate = torch.tensor([[True, *keep]])
    with torch.no_grad():
        gathered = net(x[:, gate[0]], torch.ones(1, int(gate.sum())))
        masked = net(x, gate.float())[:, gate[0]]
        torch.testing.assert_close(masked, gathered, atol=1e-5, rtol=1e-4)
        other = x.clone()
        other[:, ~gate[0]] = 1e4
        masked = net(other, gate.float())[:, gate[0]]
        torch.testing.assert_close(masked, gathered, atol=1e-5, rtol=1e-4)


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_padding_is_removed_and_its_outputs_are_zero(rows: list[list[bool]]) -> None:
    net, real = encoder(), torch.tensor([[True, *row] for row in rows])
    x = torch.randn(*real.shape, 8, requires_grad=True)
    found = net(x, real.float(), real)
    assert not bool(found[~real].any())
    for sequence, mask, output in zip(x, real, found, strict=True):
        alone = net(sequence[mask][None], torch.ones(1, int(mask.sum())))[0]
        torch.testing.assert_close(output[mask], alone, atol=1e-5, rtol=1e-4)
    found.square().sum().backward()
    assert x.grad is not None
    assert not bool(x.grad[~real].any())
    assert bool(x.grad[real].any())


def test_unpack_puts_rows_at_their_places() -> None:
    rows, places = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor([0, 3, 4])
    assert unpack(rows, places, torch.Size((2, 3)))[..., 0].tolist() == [[1, 0, 0], [2, 3, 0]]


def test_gates_have_finite_gradients_even_if_no_token_is_kept() -> None:
    net = encoder()
    x = torch.randn(2, 3, 8)
    gate = torch.tensor([[1.0, 0.0, 0.0], [1.0, 1.0, 0.0]], requires_grad=True)
    z = net(x, gate)[:, 0]
    z.square().sum().backward()
    assert bool(torch.isfinite(z).all())
    assert gate.grad is not None
    assert bool((gate.grad[:, 1:] != 0).all())
    assert bool(torch.isfinite(gate.grad).all())


def test_selection_is_hard_with_noise_in_training_and_without_noise_in_eval() -> None:
    torch.manual_seed(0)
    selector = TokenSelector(8, initial_keep=0.7)
    tokens, class_token = torch.randn(4000, 8), torch.randn(8)
    gate, probability = selector(tokens, class_token)
    assert set(gate.detach().round(decimals=5).tolist()) == {0.0, 1.0}
    assert float(gate.detach().mean()) == pytest.approx(0.7, abs=0.05)
    torch.testing.assert_close(probability.mean().item(), 0.7, atol=0.02, rtol=0)
    gate.sum().backward()
    assert selector.token.weight.grad is not None
    assert bool(selector.token.weight.grad.any())
    selector.eval()
    first, probability = selector(tokens, class_token)
    assert torch.equal(first, selector(tokens, class_token)[0])
    assert torch.equal(first, (probability > 0.5).float())
    with pytest.raises(ValueError, match="initial_keep"):
        TokenSelector(8, initial_keep=1.0)


def test_frame_means_use_only_real_tokens() -> None:
    tokens = torch.tensor([[[[1.0], [3.0], [99.0]], [[5.0], [6.0], [7.0]]]])
    mask = torch.tensor([[[True, True, False], [False, False, False]]])
    assert frame_means(tokens, mask).flatten().tolist() == [2.0, 0.0]


def test_random_subsets_keep_all_tokens_of_a_third_of_the_videos() -> None:
    torch.manual_seed(0)
    mask = torch.rand(3000, 5, 8) < 0.7
    keep = random_subsets(mask, 0.4)
    assert not bool((keep & ~mask).any())
    share = keep.flatten(1).sum(1) / mask.flatten(1).sum(1)
    assert float((share == 1).float().mean()) == pytest.approx(1 / 3, abs=0.04)
    # Of the others, the mean probability is (0.4 + 1) / 2.
    assert float(share[share < 1].mean()) == pytest.approx(0.7, abs=0.02)
    assert torch.equal(random_subsets(mask, 1.0), mask)


def test_excerpts_have_tokens_of_consecutive_frames() -> None:
    torch.manual_seed(0)
    mask = torch.rand(4000, 5, 2) < 0.9
    keep = random_excerpts(torch.ones_like(mask), 1.0)
    frames = keep.any(2)
    assert torch.equal(keep, frames[..., None].expand_as(keep))
    ends = frames.int().diff(dim=1).abs().sum(1) + frames[:, 0].int() + frames[:, -1].int()
    assert set(ends.tolist()) == {2}  # each excerpt is one run of frames
    # each of the 15 runs of five frames is equally likely
    assert 4000 / 15 * 0.75 < int(frames.all(1).sum()) < 4000 / 15 * 1.3
    # two thirds of the excerpts keep each token with a probability of 0.6 on average
    share = random_excerpts(torch.ones_like(mask), 0.2).sum() / keep.sum()
    assert 0.69 < float(share) < 0.78
    assert not (random_excerpts(mask, 1.0) & ~mask).any()
    assert random_excerpts(mask[:, :0], 1.0).shape == (4000, 0, 2)
    short = torch.ones(500, 5, 1, dtype=torch.bool)
    short[:, 2:] = False  # padding
    assert random_excerpts(short, 1.0).any(2).any(1).all()


def test_gradients_do_not_depend_on_whether_the_gates_have_one() -> None:
    layer, x = GatedAttention(6, 2, 0.0), torch.randn(15, 6)
    gate = torch.rand(3, 5).round(decimals=1)
    found = []
    for learns in (True, False):
        layer.zero_grad()
        gates = gate.clone().requires_grad_(learns)
        layer(x, gates, torch.arange(15)).square().sum().backward()
        found.append([p.grad.clone() for p in layer.parameters() if p.grad is not None])
    torch.testing.assert_close(found[0], found[1])
