"""Muscle forces spread over the vertices (Eq. 1)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from biomechau import _core
from biomechau.ops import reference
from biomechau.ops._backend import place, runs_reference
from biomechau.ops._distribution import batch_shape, check_distribution, check_force, core_index
from biomechau.ops._records import Constants, schema
from biomechau.ops._registration import Folded, empty_gradients, register
from biomechau.ops._sparse import DistributionIndex, SparseMatrix
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import jit_trace, only_ops_recorded


@float32_under_autocast
def distribute_forces(distribution: SparseMatrix, force: Tensor, directions: Tensor | None = None) -> Tensor:
    """External force at every vertex (Eq. 1): F_ext(i) = sum_m P(i,m) F_m.

    Equivalent to ``distribution.dense() @ force``, gathered from the non-zeros only.

    Args:
        distribution: P, (N, M) sparse; its values may require grad.
        force: muscle forces [force unit], shape (..., M, 3); with ``directions`` scalars, shape (..., M).
        directions: unit of force along the fibre at each entry of P, shape (nnz, 3); then F_m is
            multiplied by P(i,m) d_m(i).

    Returns:
        Force at each vertex [force unit], shape (..., N, 3).

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ.
        ValueError: a shape does not fit, or the tensors are on different devices.

    Example:
        >>> P = ops.SparseMatrix.from_dense(torch.tensor([[1.0, 0.0], [0.5, 0.25]]))
        >>> ops.distribute_forces(P, torch.tensor([[0.0, 2.0, 0.0], [4.0, 0.0, 0.0]]))
        tensor([[0., 2., 0.],
                [1., 1., 0.]])
    """
    if jit_trace() is not None:
        return only_ops_recorded(distribute_forces, distribution, force, directions)
    check_distribution(distribution, directions, ("force",), force)
    check_force(distribution, force, directions)
    if runs_reference(force):
        return reference.distribute_forces(distribution, force, directions)
    return _op(distribution.val, force, directions, distribution.index)


def _forward(val: Tensor, force: Tensor, directions: Tensor | None, index: Constants) -> Tensor:
    out = _fake(val, force, directions, index)
    num_frames = batch_shape(force, directions).numel()
    _core.distribute_forces_fwd(core_index(index), val, directions, num_frames, force, out, place(force))
    return out


def _fake(val: Tensor, force: Tensor, directions: Tensor | None, index: Constants) -> Tensor:
    return force.new_empty(*batch_shape(force, directions), index.fields[0].shape[0] - 1, 3)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.index = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx: Any, needs: Sequence[bool], grad_out: Tensor) -> Sequence[Tensor | None]:
    return _bwd_op(*ctx.saved_tensors, grad_out, needs, ctx.index)


def _bwd(
    val: Tensor, force: Tensor, directions: Tensor | None, grad_out: Tensor, needs: Sequence[bool], index: Constants
) -> list[Tensor | None]:
    grads = grad_val, grad_force, grad_directions = empty_gradients(needs, val, force, directions)
    num_frames = batch_shape(force, directions).numel()
    _core.distribute_forces_bwd(
        core_index(index),
        val,
        directions,
        num_frames,
        force,
        grad_out,
        grad_val,
        grad_force,
        grad_directions,
        place(force),
    )
    return grads


def _bwd_fake(
    val: Tensor, force: Tensor, directions: Tensor | None, grad_out: Tensor, needs: Sequence[bool], index: Constants
) -> list[Tensor | None]:
    return empty_gradients(needs, val, force, directions)


_INPUTS, _INDEX = "Tensor val, Tensor force, Tensor? directions", schema(DistributionIndex)
_bwd_op = register(
    "distribute_forces_bwd",
    f"({_INPUTS}, Tensor grad_out, bool[] needs, {_INDEX}) -> Tensor[]",
    _bwd,
    _bwd_fake,
    records=(DistributionIndex,),
)
_op = register(
    "distribute_forces",
    f"({_INPUTS}, {_INDEX}) -> Tensor",
    _forward,
    _fake,
    _setup_context,
    _backward,
    differentiable=("val", "force", "directions"),
    folded=Folded(("force",)),
    records=(DistributionIndex,),
)
