"""The distribution P as arguments of the force ops, and as the kernels read it."""

from __future__ import annotations

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import _check
from biomechau.ops._records import Constants
from biomechau.ops._sparse import SparseMatrix


def check_distribution(
    distribution: SparseMatrix, directions: Tensor | None, names: tuple[str, ...], *others: Tensor
) -> None:
    """P, its fibre directions and the other tensors of the call, with their names, are of one kind and fit."""
    if not isinstance(distribution, SparseMatrix):
        raise TypeError(f"distribution must be a SparseMatrix or Distribution, got {type(distribution).__name__}")
    _check.same_kind((*names, "directions?", "distribution.val"), *others, directions, distribution.val)
    if directions is not None and directions.shape != (distribution.nnz, 3):
        raise _check.wrong_shape("directions", directions, f"({distribution.nnz}, 3)")


def check_force(distribution: SparseMatrix, force: Tensor, directions: Tensor | None) -> None:
    """Vector forces are (..., M, 3), fibre forces (..., M)."""
    num_muscles = distribution.shape[1]
    if directions is None:
        if force.ndim < 2 or force.shape[-2] != num_muscles or force.shape[-1] != 3:
            raise _check.wrong_shape("force", force, f"(..., {num_muscles}, 3)")
    elif force.ndim < 1 or force.shape[-1] != num_muscles:
        raise _check.wrong_shape("force", force, f"(..., {num_muscles}) with directions")


def batch_shape(force: Tensor, directions: Tensor | None) -> torch.Size:
    """The leading axes of muscle forces."""
    return force.shape[:-2] if directions is None else force.shape[:-1]


def core_index(index: Constants) -> _core.DistributionIndex:
    """The index of P as the kernels read it."""
    return index.view(lambda crow, *rest: _core.DistributionIndex(crow.shape[0] - 1, crow, *rest))
