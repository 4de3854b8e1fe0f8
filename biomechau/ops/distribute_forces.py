"""Muscle forces spread over the vertices (Eq. 1)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import buffer, runs_reference
from biomechau.ops._distribution import SCHEMA, check_distribution, core_distribution, index_arguments
from biomechau.ops._registration import empty_gradients, register, wanted_gradients
from biomechau.ops.sparse import SparseMatrix


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
        >>> P = SparseMatrix.from_dense(torch.tensor([[1.0, 0.0], [0.5, 0.25]]))
        >>> distribute_forces(P, torch.tensor([[0.0, 2.0, 0.0], [4.0, 0.0, 0.0]]))
        tensor([[0., 2., 0.],
                [1., 1., 0.]])
    """
    check_distribution(distribution, directions, force=force)
    check_force(distribution, force, directions)
    if runs_reference(force.device):
        return reference.distribute_forces(distribution, force, directions)
    return _op(distribution.val, force, directions, *index_arguments(distribution))


def check_force(distribution: SparseMatrix, force: Tensor, directions: Tensor | None) -> None:
    """Vector forces are (..., M, 3), fibre forces (..., M)."""
    num_muscles = distribution.shape[1]
    if directions is None:
        good = force.ndim >= 2 and force.shape[-2] == num_muscles and force.shape[-1] == 3
        _check.shape("force", force, f"(..., {num_muscles}, 3)", good)
    else:
        good = force.ndim >= 1 and force.shape[-1] == num_muscles
        _check.shape("force", force, f"(..., {num_muscles}) with directions", good)


def _batch(force: Tensor, directions: Tensor | None) -> torch.Size:
    return force.shape[:-2] if directions is None else force.shape[:-1]


def _forward(val: Tensor, force: Tensor, directions: Tensor | None, *index: Any) -> Tensor:
    p, num_vertices, _held = core_distribution(val, directions, *index)
    batch = _batch(force, directions)
    force = force.contiguous()
    out = force.new_empty((*batch, num_vertices, 3))
    _core.distribute_forces_fwd(p, batch.numel(), buffer(force), buffer(out), torch.get_num_threads())
    return out


def _fake(val: Tensor, force: Tensor, directions: Tensor | None, *index: Any) -> Tensor:
    return force.new_empty((*_batch(force, directions), index[0].shape[0] - 1, 3))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:-1])
    ctx.num_muscles = inputs[-1]


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
    val, force, directions, *index = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    grads = _bwd_op(grad_out, needs, val, force, directions, *index, ctx.num_muscles)
    return wanted_gradients(grads, needs, others=6)


def _bwd(
    grad_out: Tensor, needs: list[bool], val: Tensor, force: Tensor, directions: Tensor | None, *index: Any
) -> list[Tensor]:
    p, _, _held = core_distribution(val, directions, *index)
    force, grad_out = force.contiguous(), grad_out.contiguous()
    grads = empty_gradients(needs, val, force, directions)
    num_frames = _batch(force, directions).numel()
    grad_val, grad_force, grad_directions = map(buffer, grads)
    _core.distribute_forces_bwd(
        p, num_frames, buffer(force), buffer(grad_out), grad_val, grad_force, grad_directions, torch.get_num_threads()
    )
    return grads


def _bwd_fake(
    grad_out: Tensor, needs: list[bool], val: Tensor, force: Tensor, directions: Tensor | None, *index: Any
) -> list[Tensor]:
    return empty_gradients(needs, val, force, directions)


_bwd_op = register(
    "distribute_forces_bwd",
    f"(Tensor grad_out, bool[] needs, Tensor val, Tensor force, Tensor? directions, {SCHEMA}) -> Tensor[]",
    _bwd,
    _bwd_fake,
)
_op = register(
    "distribute_forces",
    f"(Tensor val, Tensor force, Tensor? directions, {SCHEMA}) -> Tensor",
    _forward,
    _fake,
    _setup_context,
    _backward,
)
