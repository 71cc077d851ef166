import math

import pytest
import torch
from torch import Tensor

from model.baselines.graph import GraphBlock, SpatialMessages, TokenGraph
from model.tokens import TokenGrid

D = 6


def random_grid(seed: int) -> tuple[Tensor, TokenGrid]:
    """Return random tokens with padding, and tracks that miss some frames and change slots."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.rand(2, 5, 3, generator=g) < 0.7
    mask[0, 2], mask[1, 0] = False, torch.tensor([True, False, False])
    tracks = torch.stack([torch.randperm(4, generator=g)[:3] for _ in range(10)]).view(2, 5, 3)
    return torch.randn(2, 5, 3, D, generator=g), TokenGrid(mask, torch.zeros(2, 5, 3), tracks)


def linear(layer: torch.nn.Linear, x: Tensor) -> Tensor:
    return layer.weight @ x + layer.bias


def normed(x: Tensor) -> Tensor:
    """Return LN(x) with the initial weights."""
    return (x - x.mean()) / (x.var(unbiased=False) + 1e-5).sqrt()


def through(mlp: torch.nn.Sequential, parts: list[Tensor]) -> Tensor:
    x = linear(mlp[0], torch.cat(parts))  # type: ignore[arg-type]
    x = 0.5 * x * (1 + torch.erf(x / math.sqrt(2)))
    return linear(mlp[3], x)  # type: ignore[arg-type]


def spatial_message(layer: SpatialMessages, h: dict, place: tuple[int, int, int]) -> Tensor:
    """Compute the message to a token with plain loops."""
    b, t, k = place
    q = linear(layer.qkv, h[place])[:D]
    total, count = torch.zeros(D), 0
    for other, value in h.items():
        if other[:2] == (b, t) and other[2] != k:
            _, key, v = linear(layer.qkv, value).split(D)
            total += v / (1 + math.exp(-float(q @ key) / math.sqrt(D)))
            count += 1
    return total / max(count, 1)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_block_equals_plain_loops(seed: int) -> None:
    torch.manual_seed(seed)
    x, grid = random_grid(seed)
    graph = TokenGraph(D, 1, layers=1, mlp_ratio=4.0, dropout=0.5).eval().requires_grad_(False)
    block, outputs = graph.blocks[0], list[Tensor]()
    assert isinstance(block, GraphBlock)
    block.register_forward_hook(lambda *call: outputs.append(call[2]))
    graph(x, grid)
    found = outputs[0]

    places: list[tuple[int, int, int]] = [tuple(p) for p in grid.mask.nonzero().tolist()]
    h = {place: normed(x[place]) for place in places}
    y = {}
    for place in places:
        message = spatial_message(block.messages, h, place)
        y[place] = x[place] + through(block.spatial_mlp, [h[place], message])
    h = {place: normed(value) for place, value in y.items()}
    linked = 0
    for place in places:
        near = []
        for step in (-1, 1):
            t, value = place[1] + step, torch.zeros(D)
            while 0 <= t < 5 and not bool(value.any()):
                for other in places:
                    same = grid.tracks[other] == grid.tracks[place]
                    if other[:2] == (place[0], t) and bool(same):
                        value, linked = h[other], linked + 1
                t += step
            near.append(value)
        expected = y[place] + through(block.track_mlp, [h[place], *near])
        torch.testing.assert_close(found[place], expected, rtol=1e-4, atol=1e-5)
    assert linked > 5


def test_vector_is_the_mean_and_the_maximum_over_real_tokens() -> None:
    torch.manual_seed(0)
    x, grid = random_grid(3)
    graph = TokenGraph(D, 1, layers=0, mlp_ratio=4.0, dropout=0.0)
    mask = grid.mask.clone()
    mask[0] = False
    z = graph(x, TokenGrid(mask, grid.times_s, grid.tracks))
    tokens = torch.stack([normed(token) for token in x[1][mask[1]]])
    expected = torch.cat([tokens.mean(0), tokens.max(0).values])
    torch.testing.assert_close(z[1], expected, rtol=1e-4, atol=1e-5)
    assert z[0].tolist() == [0.0] * (2 * D)
    empty = TokenGrid(*(value[:, :, :0] for value in vars(grid).values()))
    assert graph(x[:, :, :0], empty).tolist() == [[0.0] * (2 * D)] * 2
