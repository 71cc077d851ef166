import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.losses import (
    loss_action_multi,
    loss_action_single,
    loss_cross_modal_bernoulli,
    loss_cross_modal_softmax,
    loss_reading,
    loss_similarity,
    loss_token_selection,
)

seeds = st.integers(0, 2**31)


def normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


@given(seeds, st.sampled_from(["mean", "sum"]))
@settings(max_examples=20, deadline=None)
def test_action_and_cross_modal_losses_equal_plain_loops(seed: int, reduction: str) -> None:
    z, t = normal(seed, 3, 4), normal(seed + 1, 3, 4)
    y = (normal(seed + 2, 3, 4) > 0).float()
    partly = torch.where(normal(seed + 3, 3, 4) > 0, y, torch.nan)
    bce = kl = soft = known = 0.0
    for b in range(3):
        mine = [c for c in range(4) if not math.isnan(float(partly[b, c]))]
        for c in mine:
            q = sigmoid(float(z[b, c])) if y[b, c] else 1 - sigmoid(float(z[b, c]))
            known -= math.log(q) / (len(mine) if reduction == "mean" else 1)
        for c in range(4):
            q, p, label = sigmoid(float(z[b, c])), sigmoid(float(t[b, c])), float(y[b, c])
            bce -= label * math.log(q) + (1 - label) * math.log(1 - q)
            kl += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
        qs = [math.exp(float(v)) for v in z[b]]
        ps = [math.exp(float(v)) for v in t[b]]
        for p, q in zip(ps, qs, strict=True):
            soft += p / sum(ps) * math.log(p / sum(ps) / (q / sum(qs)))
    scale = 3 * (4 if reduction == "mean" else 1)
    assert float(loss_action_multi(z, y, reduction)) == pytest.approx(bce / scale, rel=1e-4)
    assert float(loss_action_multi(z, partly, reduction)) == pytest.approx(known / 3, rel=1e-4)
    got = float(loss_cross_modal_bernoulli(z, t, reduction))
    assert got == pytest.approx(kl / scale, rel=1e-4, abs=1e-6)
    assert float(loss_cross_modal_softmax(z, t)) == pytest.approx(soft / 3, rel=1e-4, abs=1e-6)


@given(seeds, st.booleans())
@settings(max_examples=20, deadline=None)
def test_reading_loss_equals_plain_loops(seed: int, weighted: bool) -> None:
    w = [0.5, 3.0, 2.0, 0.1] if weighted else [1.0] * 4
    v, s, index = normal(seed, 5, 3), normal(seed + 1, 4, 3), [2, -1, 0, 2, 3]
    total = 0.0
    for i, e in enumerate(index):
        scores = [
            math.exp(1.5) * float(v[i] @ s[j]) / float(v[i].norm() * s[j].norm()) for j in range(4)
        ]
        if e >= 0:
            total -= w[e] * (scores[e] - math.log(sum(map(math.exp, scores))))
    weights = torch.tensor(w) if weighted else None
    loss = loss_reading(v, s, torch.tensor(index), torch.tensor(1.5), weights)
    assert float(loss) == pytest.approx(total / 4, rel=1e-4, abs=1e-6)
    v.requires_grad_()
    none = loss_reading(v, s, torch.full((5,), -1), torch.tensor(1.5))
    none.backward()
    assert float(none.detach()) == 0
    assert v.grad is not None
    assert not bool(v.grad.any())


@given(seeds, st.booleans())
@settings(max_examples=20, deadline=None)
def test_similarity_loss_equals_plain_loops(seed: int, grouped: bool) -> None:
    v, s = normal(seed, 5, 3), normal(seed + 1, 5, 3)
    codes = torch.tensor([[0, 1], [2, 3], [0, 1], [0, 3], [2, 3]])
    scale = torch.tensor(1.5)
    x = [[float(c) / float(row.norm()) for c in row] for row in v]
    y = [[float(c) / float(row.norm()) for c in row] for row in s]

    def score(i: int, j: int) -> float:
        return math.exp(math.exp(1.5) * sum(a * b for a, b in zip(x[i], y[j], strict=True)))

    def is_negative(i: int, j: int) -> bool:
        return i == j or not grouped or codes[i].tolist() != codes[j].tolist()

    total = 0.0
    for i in range(5):
        rows = sum(score(i, j) for j in range(5) if is_negative(i, j))
        columns = sum(score(j, i) for j in range(5) if is_negative(i, j))
        total -= math.log(score(i, i) / rows) + math.log(score(i, i) / columns)
    got = loss_similarity(v, s, scale, triplets=codes if grouped else None)
    assert float(got) == pytest.approx(total / 10, rel=1e-4)


def test_similarity_loss_of_fewer_than_two_tokens_is_zero_and_differentiable() -> None:
    for count in (0, 1):
        v = torch.randn(count, 3, requires_grad=True)
        scale = torch.tensor(0.0, requires_grad=True)
        loss = loss_similarity(v, torch.randn(count, 3), scale)
        loss.backward()
        assert float(loss.detach()) == 0.0
        assert scale.grad is not None


def test_token_selection_loss_and_its_gradients_equal_hand_computed_values() -> None:
    mask = torch.tensor([[[True, True], [False, True]]])
    v = torch.tensor([[[1.0, 0.0], [9.0, 1.0]]], requires_grad=True)
    s = torch.tensor([[[1.0, 1.0], [9.0, 0.0]]], requires_grad=True)
    loss = loss_token_selection(v, s, mask)
    assert float(loss.detach()) == pytest.approx((0 + 1 + 1 + 1 + 1 + 0) / 3)
    loss.backward()
    assert v.grad is not None
    assert s.grad is not None
    torch.testing.assert_close(v.grad, torch.tensor([[[0.0, -2 / 3], [0.0, 2 / 3]]]))
    torch.testing.assert_close(s.grad, torch.tensor([[[1 / 3, 1 / 3], [0.0, 0.0]]]))
    assert float(loss_token_selection(v, s, torch.zeros_like(mask)).detach()) == 0.0


def test_teacher_gets_no_gradient_and_the_loss_of_equal_logits_is_zero() -> None:
    for loss in (loss_cross_modal_bernoulli, loss_cross_modal_softmax):
        mimic, teacher = torch.randn(2, 3).requires_grad_(), torch.randn(2, 3).requires_grad_()
        loss(mimic, teacher).backward()
        assert teacher.grad is None
        assert mimic.grad is not None
        assert float(loss(teacher.detach(), teacher)) == pytest.approx(0, abs=1e-6)
        big = torch.tensor([[200.0, -200.0]])
        assert math.isfinite(float(loss(big, -big)))


def test_single_action_loss_is_cross_entropy_and_unknown_reduction_is_rejected() -> None:
    z = torch.tensor([[0.0, math.log(3.0)]])
    assert float(loss_action_single(z, torch.tensor([1]))) == pytest.approx(-math.log(0.75))
    with pytest.raises(ValueError, match="mean or sum"):
        loss_action_multi(z, torch.zeros(1, 2), "max")
