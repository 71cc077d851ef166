import itertools

import pytest
import torch
from torch import Tensor

from model.losses import bernoulli_divergence
from model.subset_selector import (
    SubsetSelector,
    divergence,
    draw_subsets,
    preserving_subset,
    selection_loss,
)
from model.tokens import TokenGrid
from tests.model.test_laiar import drawn_mask


def normal(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grid(mask: Tensor, seed: int) -> TokenGrid:
    g = torch.Generator().manual_seed(seed)
    return TokenGrid(mask, torch.zeros(mask.shape), torch.randint(0, 2, mask.shape, generator=g))


@pytest.mark.parametrize("by_frame", [False, True])
def test_logits_equal_plain_loops(by_frame: bool) -> None:
    torch.manual_seed(0)
    selector, mask = SubsetSelector(4, by_frame=by_frame), drawn_mask(1, 2, 4, 3)
    torch.nn.init.normal_(selector.mlp[-1].get_parameter("weight"))
    tokens, places = normal(2, 2, 4, 3, 4), grid(mask, 3)
    with torch.no_grad():
        found, y = selector(tokens, places), selector.norm(tokens)
        for b in range(2):
            z = {}
            for t, k in mask[b].nonzero().tolist():

                def near(frames: range, b: int = b, t: int = t, k: int = k) -> Tensor | None:
                    track = places.tracks[b, t, k]
                    for u in frames:
                        for j in range(3):
                            if mask[b, u, j] and places.tracks[b, u, j] == track:
                                return y[b, u, j]
                    return None

                own, before, after = y[b, t, k], near(range(t - 1, -1, -1)), near(range(t + 1, 4))
                z[t, k] = selector.mlp(
                    torch.cat(
                        [
                            own,
                            own - before if before is not None else torch.zeros(4),
                            after - own if after is not None else torch.zeros(4),
                            torch.tensor([float(before is not None), float(after is not None)]),
                        ]
                    )
                )
            for t, k in z:
                frame = torch.stack([v for (u, _), v in z.items() if u == t])
                wanted = frame.mean(0) if by_frame else z[t, k]
                torch.testing.assert_close(found[b, t, k : k + 1], wanted)


@pytest.mark.parametrize("by_frame", [False, True])
def test_loss_has_the_gradient_of_the_expected_cost(by_frame: bool) -> None:
    torch.manual_seed(0)
    selector = SubsetSelector(4, by_frame=by_frame)
    mask = torch.tensor([[[True, True], [True, False], [False, False]]])
    value = normal(1, 3, 2)
    logits = torch.tensor([[[0.4, 0.4], [-0.7, -0.7], [0.0, 0.0]]], requires_grad=True)

    def score(keep: Tensor) -> Tensor:
        return (keep * value).sum((2, 3))[..., None] * torch.tensor([1.0, -0.5])

    full, expected = score(mask[None])[0], torch.zeros(())
    frames = [[(0, 0), (0, 1)], [(1, 0)]]
    units = frames if by_frame else [[cell] for unit in frames for cell in unit]
    price = 0.2
    for chosen in itertools.product([False, True], repeat=len(units)):
        keep, p = torch.zeros_like(mask), torch.ones(())
        for unit, kept in zip(units, chosen, strict=True):
            one = logits[0, unit[0][0], unit[0][1]].sigmoid()
            p = p * (one if kept else 1 - one)
            for t, k in unit:
                keep[0, t, k] = kept
        d = bernoulli_divergence(full, score(keep[None])[0]).sum()
        expected = expected + p * (d + price * sum(chosen))
    (wanted,) = torch.autograd.grad(expected, logits)
    rounds = 3000
    total = torch.zeros_like(logits)
    for _ in range(rounds):
        loss, drawn = selection_loss(selector, logits, mask, score, price=price, multi_label=True)
        total += torch.autograd.grad(loss, logits)[0] / rounds
        assert 0 <= float(drawn) <= 3
    torch.testing.assert_close(total.sum(2), wanted.sum(2), atol=0.01, rtol=0.05)


def test_subsets_are_drawn_from_the_probabilities_and_nothing_is_lost_for_good() -> None:
    torch.manual_seed(0)
    mask = torch.tensor([[[True, True, True, False]]])
    logits = torch.tensor([[[0.0, 50.0, -50.0, 0.0]]])
    drawn = draw_subsets(logits, mask, samples=4000, by_frame=False).float().mean(0)[0, 0]
    torch.testing.assert_close(drawn, torch.tensor([0.5, 0.98, 0.02, 0.0]), atol=0.03, rtol=0)
    frames = draw_subsets(logits[..., :1].expand_as(logits), mask, samples=50, by_frame=True)
    assert set(frames.sum((1, 2, 3)).tolist()) == {0, 3}


@pytest.mark.parametrize("multi_label", [False, True])
def test_subset_is_the_smallest_prefix_that_preserves_the_prediction(multi_label: bool) -> None:
    mask, z = drawn_mask(1, 40, 5, 4), 2 * normal(2, 40, 5, 4) - 1
    value = normal(3, 40, 5, 4).abs()[..., None] * torch.tensor([1.0, -0.5, 0.2])

    def score(videos: Tensor, keep: Tensor) -> Tensor:
        return (keep[..., None] * value[videos]).sum((1, 2))

    def select(z: Tensor, tolerance: float = 0.1) -> Tensor:
        return preserving_subset(z, mask, score, tolerance=tolerance, multi_label=multi_label)

    found = select(z)
    full, lowered = score(torch.arange(40), mask), 0
    for b in range(40):
        order = sorted(mask[b].nonzero().tolist(), key=lambda cell: -float(z[b, *cell]))
        num = sum(float(z[b, t, k]) > 0 for t, k in order)
        start = num
        while True:  # the divergence falls with each token, because every value has one sign
            keep = torch.zeros_like(mask[b])
            for t, k in order[:num]:
                keep[t, k] = True
            logits = score(torch.tensor([b]), keep[None])
            distance = divergence(full[b : b + 1], logits[None], multi_label=multi_label)
            if float(distance) <= 0.1:
                break
            num += 1
        lowered += num > start
        assert torch.equal(found[b], keep)
    assert 5 < lowered < 38
    assert torch.equal(select(z, 1e9), mask & (z > 0))
    whole = select(z.mean(2, keepdim=True).expand_as(z))
    assert torch.equal(whole, mask & whole.any(2, keepdim=True))  # frames are kept as a whole
    assert torch.equal(select(torch.full_like(z, float("nan")), 0.0), mask)


def test_videos_without_tokens_keep_none_if_their_scores_are_not_numbers() -> None:
    none = torch.zeros(2, 3, 0)
    found = preserving_subset(
        none,
        none.bool(),
        lambda videos, _: torch.full((len(videos), 4), float("nan")),
        tolerance=0.1,
        multi_label=True,
    )
    assert found.shape == (2, 3, 0)


def test_divergence_of_single_labels_is_that_of_softmax() -> None:
    full, logits = normal(0, 2, 3), normal(1, 4, 2, 3)
    p, q = full.softmax(1), logits.softmax(2)
    wanted = (p * (p / q).log()).sum(2)
    torch.testing.assert_close(divergence(full, logits, multi_label=False), wanted)
    shifted = divergence(full + 3.0, logits, multi_label=False)
    torch.testing.assert_close(shifted, wanted, atol=1e-5, rtol=1e-5)
