"""Batch normalisation over all processes equals that of torch in a single process."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn

from model.relation_features import TokenNorm
from pipeline.training.batch_norm import SharedBatchNorm, kept_statistics, share_statistics


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start a group of one process."""
    method = f"file://{tmp_path_factory.mktemp('group') / 'store'}"
    dist.init_process_group("gloo", init_method=method, rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def shared(layer: nn.Module) -> tuple[nn.Sequential, SharedBatchNorm]:
    """Return a copy of a layer whose statistics are those of all processes."""
    module = nn.Sequential(copy.deepcopy(layer))
    (made,) = share_statistics(module)
    return module, made


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm1d(3), (5, 3)),
        (nn.BatchNorm2d(3, momentum=0.01), (4, 3, 5, 6)),
        (nn.BatchNorm2d(3), (1, 3, 5, 6)),
        (TokenNorm(3), (4, 3, 7, 7)),
        (TokenNorm(3), (1, 3, 7, 7)),
        (TokenNorm(3), (0, 3, 7, 7)),
    ],
)
def test_outputs_gradients_and_statistics_are_equal(
    layer: nn.Module, shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    module, _ = shared(layer)
    features, results = torch.randn(shape).mul(3).add(1), []
    for each in (layer, module):
        x = features.clone().requires_grad_()
        y = each(x)
        (y * torch.linspace(-1, 2, y.numel()).view(y.shape)).sum().backward()
        assert x.grad is not None
        results.append((y.detach(), x.grad, *(p.grad for p in each.parameters()), *each.buffers()))
    for ours, theirs in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_uncounted_samples_do_not_change_the_statistics() -> None:
    module, layer = shared(nn.BatchNorm2d(2))
    before = [value.clone() for value in module.buffers()]
    layer.is_counted = False
    assert module(torch.randn(4, 2, 3, 3)).isfinite().all()
    assert all(torch.equal(a, b) for a, b in zip(module.buffers(), before, strict=True))


def test_statistics_are_kept_while_rows_are_computed() -> None:
    module, layer = shared(nn.BatchNorm2d(2))
    with kept_statistics(module):
        module(torch.randn(4, 2, 3, 3).add(5))
    assert layer.running_mean is not None
    assert not bool(layer.running_mean.any())
    module(torch.randn(4, 2, 3, 3).add(5))
    assert bool((layer.running_mean > 0.3).all())
