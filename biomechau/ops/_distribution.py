"""The distribution P as arguments of the force ops, and as the kernels read it."""

from __future__ import annotations

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import _check
from biomechau.ops._backend import buffer, dense
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


def core_distribution(
    val: Tensor, directions: Tensor | None, index: Constants
) -> tuple[_core.Distribution, int, object]:
    """The kernels' view of P, its number of rows, and what must stay alive while the view is used."""
    num_vertices, num_muscles = index.fields[0].shape[0] - 1, index.fields[-1]
    val = dense(val)
    directions = None if directions is None else dense(directions)
    crow, col, muscle_crow, muscle_row, muscle_entry = index.buffers()
    view = _core.Distribution(
        num_vertices,
        num_muscles,
        crow,
        col,
        muscle_crow,
        muscle_row,
        muscle_entry,
        buffer(val),
        buffer(directions),
        directions is not None,
    )
    return view, num_vertices, (index, val, directions)
