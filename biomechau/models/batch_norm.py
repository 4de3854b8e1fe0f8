"""Batch normalisation whose batch is that of all processes together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn


class BatchNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` over (B, C), with the statistics of all processes when several train together.

    So two processes with half a batch each learn what one does with the whole. ``torch.nn.SyncBatchNorm`` does this on
    GPUs only.

    Args:
        num_features: C.
    """

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C), normalised."""
        alone = not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() < 2
        if alone or not self.training:
            return super().forward(input)
        count = input.new_tensor([float(len(input))])
        distributed.all_reduce(count)
        mean = _sum_of_all(input.sum(0)) / count
        centred = input - mean
        variance = _sum_of_all(centred.square().sum(0)) / count
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        with torch.no_grad():
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        return centred * (variance + self.eps).rsqrt() * self.weight + self.bias


class _SumOfAll(torch.autograd.Function):
    """The sum of a tensor over all processes, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return _SumOfAll.forward(ctx, grads[0])


def _sum_of_all(value: Tensor) -> Tensor:
    return _SumOfAll.apply(value)
