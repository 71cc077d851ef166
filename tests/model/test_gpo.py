import json
from pathlib import Path

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.utils.rnn import PackedSequence

from model.gpo import GPO, position_code
from tools.proofs.reference.small import check_gpo

REFERENCE = Path(__file__).resolve().parents[1] / "reference"


def seeded() -> GPO:
    torch.manual_seed(0)
    return GPO().eval()


def test_gpo_equals_the_reference_implementation() -> None:
    arrays = dict(np.load(REFERENCE / "gpo.npz"))
    states = json.loads((REFERENCE / "state_dicts.json").read_text())
    results = check_gpo(arrays, states)
    assert len(results) == 7
    assert all(error <= tolerance for error, tolerance, _ in results.values()), results


def pooled_by_loops(gpo: GPO, rows: torch.Tensor) -> list[float]:
    n, width = rows.shape
    code = position_code(n, gpo.d_pe)[None]
    hidden = gpo.gru(code)[0][0]
    half = hidden.shape[1] // 2
    scores = gpo.linear((hidden[:, :half] + hidden[:, half:]) / 2)[:, 0] / gpo.temperature
    theta = [float(v) for v in scores.exp() / scores.exp().sum()]
    out = []
    for d in range(width):
        ranked = sorted((float(v) for v in rows[:, d]), reverse=True)
        out.append(sum(t * v for t, v in zip(theta, ranked, strict=True)))
    return out


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_gpo_equals_plain_loops_and_ignores_padding_and_order(
    lengths: list[int], extra: int, seed: int
) -> None:
    gpo, g = seeded(), torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), max(lengths) + extra, 5, generator=g)
    with torch.no_grad():
        pooled, weights = gpo(features, torch.tensor(lengths))
        for b, n in enumerate(lengths):
            if n == 0:
                assert not bool(pooled[b].any())
                continue
            expected = torch.tensor(pooled_by_loops(gpo, features[b, :n]))
            torch.testing.assert_close(pooled[b], expected, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(weights[b].sum(), torch.tensor(1.0))
            order = torch.randperm(n, generator=g)
            alone, _ = gpo(features[b : b + 1, :n][:, order], torch.tensor([n]))
            torch.testing.assert_close(alone[0], pooled[b], atol=1e-6, rtol=1e-5)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_set_in_a_batch_equals_the_set_pooled_alone(lengths: list[int], seed: int) -> None:
    gpo, g = seeded(), torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), 7, 5, generator=g)
    pooled, weights = gpo(features, torch.tensor(lengths))
    parts = []
    for b, n in enumerate(lengths):
        alone, theta = gpo(features[b : b + 1, :n], torch.tensor([n]))
        parts.append(alone)
        torch.testing.assert_close(pooled[b], alone[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(weights[b, :n], theta[0, :n], atol=1e-6, rtol=1e-5)
        assert not bool(weights[b, n:].any())
    if any(n > 1 for n in lengths):
        together = torch.autograd.grad(pooled.square().sum(), list(gpo.parameters()))
        apart = torch.autograd.grad(torch.cat(parts).square().sum(), list(gpo.parameters()))
        for one, two in zip(together, apart, strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)
        assert any(bool(gradient.any()) for gradient in together)


def test_gru_input_has_one_row_per_distinct_length() -> None:
    gpo, rows = seeded(), []

    def count(_: torch.nn.Module, inputs: tuple[PackedSequence, ...]) -> None:
        rows.append(int(inputs[0].batch_sizes[0]))

    gpo.gru.register_forward_pre_hook(count)
    for lengths in ([4, 2, 4, 4, 6, 2], [5] * 9, [3, 0, 0, 3], [0, 0]):
        gpo(torch.randn(len(lengths), 6, 5), torch.tensor(lengths))
    assert rows == [3, 1, 2, 1]


def test_padding_has_no_effect_and_no_gradient() -> None:
    gpo = seeded()
    features = torch.randn(2, 6, 4, requires_grad=True)
    lengths = torch.tensor([3, 0])
    pooled, _ = gpo(features, lengths)
    pooled.sum().backward()
    assert features.grad is not None
    assert not bool(features.grad[0, 3:].any() | features.grad[1].any())
    assert bool(features.grad[0, :3].any())
    changed = features.detach().clone()
    changed[0, 3:], changed[1] = 1e30, float("nan")
    assert torch.equal(gpo(changed, lengths)[0], pooled)
