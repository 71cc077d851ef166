"""Batch normalisation over the samples of all processes."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.relation_features import TokenNorm

#: Group of processes, as `torch.distributed.new_group` returns it.
Group = Any


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics in train mode are those of all processes.

    `torch.nn.SyncBatchNorm` does the same on GPUs only. Every process must call the layer equally
    often. With fewer than two values per channel, or two tokens for a `TokenNorm`, the running
    statistics are used and are not updated.

    Args:
        like: layer whose parameters, buffers and options are used.
        group: process group. It must be another one than that of DistributedDataParallel, which
            exchanges gradients at the same time.

    Attributes:
        is_counted: whether the samples of this process belong to the batch.
    """

    def __init__(self, like: nn.BatchNorm1d | nn.BatchNorm2d, group: Group) -> None:
        super().__init__(like.num_features, like.eps, like.momentum)
        self._parameters, self._buffers = like._parameters, like._buffers
        self.group, self.is_counted, self._is_of_tokens = group, True, isinstance(like, TokenNorm)
        self.train(like.training)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a (B, C, ...) tensor of any rank."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        dims, shape = [0, *range(2, x.ndim)], (1, -1, *[1] * (x.ndim - 2))
        y, own = x.float(), float(self.is_counted)
        n = y.new_tensor([own * y.numel() / y.shape[1]])
        sums = _AllReduce.apply(torch.cat([own * y.sum(dims), n]), self.group)
        n = sums[-1].detach()
        mean, var = self.running_mean, self.running_var
        if n >= 2 * (math.prod(x.shape[2:]) if self._is_of_tokens else 1):
            mean = sums[:-1] / n
            var = _AllReduce.apply(own * (y - mean.view(shape)).square().sum(dims), self.group) / n
            self._update(mean.detach(), var.detach() * n / (n - 1))
        y = (y - mean.view(shape)) * (var.view(shape) + self.eps).rsqrt()
        return (y * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _update(self, mean: Tensor, var: Tensor) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = self.momentum
        if share is None:
            share = 1.0 / float(self.num_batches_tracked)
        for running, value in ((self.running_mean, mean), (self.running_var, var)):
            assert running is not None
            running.lerp_(value.to(running), share)

    def _check_input_dim(self, _: Tensor) -> None:
        """Accept tensors of any rank."""


def share_statistics(module: nn.Module) -> list[SharedBatchNorm]:
    """Replace the batch normalisation layers in a module, and return the new layers."""
    made, group = [], dist.new_group()
    for parent in list(module.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                made.append(SharedBatchNorm(layer, group))
                setattr(parent, name, made[-1])
    return made


@contextmanager
def kept_statistics(module: nn.Module) -> Iterator[None]:
    """Keep the running statistics of batch normalisation in a module unchanged."""
    layers = [x for x in module.modules() if isinstance(x, nn.BatchNorm1d | nn.BatchNorm2d)]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.momentum = 0.0
    try:
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


class _AllReduce(torch.autograd.Function):
    """Sum over all processes. The gradient of each summand is the sum of all gradients."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Group) -> Tensor:
        ctx.group, total = group, value.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        total = grads[0].clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None
