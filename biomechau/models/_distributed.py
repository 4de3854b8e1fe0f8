"""Dropout and batch normalisation over the common batch of all processes of a training."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional


def whole_batch(count: int) -> tuple[int, slice]:
    """Number of sequences in the batch of all processes, and the slice of this process, if each has ``count``.

    Process r of P has the sequences r, r + P, ... Random numbers are drawn for the whole batch and each process takes
    its own, so that results do not depend on the number of processes, provided that all have the same random state.
    """
    if not distributed.is_available() or not distributed.is_initialized():
        return count, slice(None)
    processes = distributed.get_world_size()
    return count * processes, slice(distributed.get_rank(), None, processes)


class Dropout(nn.Module):
    """``torch.nn.Dropout`` of (S, ...), with one mask for the common batch of all processes.

    Each process draws the mask of the whole batch and takes its own sequences, see :func:`whole_batch`. So two
    processes with half a batch each drop the same as one with the whole, provided that they have the same random state
    and the same number of sequences.

    Args:
        p: probability of dropping in training, in [0, 1).

    Raises:
        ValueError: a probability out of range.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout must lie in [0, 1), got {p}")
        self.p = p

    def forward(self, input: Tensor) -> Tensor:
        """(S, ...), elements set to 0 with probability p, the others divided by 1 - p; unchanged when not training."""
        if not self.training or not self.p:
            return input
        count, own = whole_batch(len(input))
        return input * functional.dropout(input.new_ones(count, *input.shape[1:]), self.p)[own]

    def extra_repr(self) -> str:
        return f"p={self.p}"


class BatchNorm(nn.BatchNorm1d):
    """``torch.nn.BatchNorm1d`` over (B, C), with statistics over all processes of a training.

    So two processes with half a batch each learn the same as one with the whole. ``torch.nn.SyncBatchNorm`` does this
    on GPUs only.

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
    """The sum of a tensor over all processes; its gradient is the sum of their gradients."""

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
