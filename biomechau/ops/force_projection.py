"""Muscle forces to generalized forces on the blendshape coordinates (Eq. 9)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import reference, tracing
from biomechau.ops._backend import place, runs_reference, workspace
from biomechau.ops._distribution import batch_shape, check_force
from biomechau.ops._packed_arguments import unpacked
from biomechau.ops._packed_blendshapes import KeptProjection, PackedBlendshapes
from biomechau.ops._registration import Folded, empty_gradients, register
from biomechau.ops._sparse import SparseMatrix
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.reduced_projection import (
    STRUCTURE,
    STRUCTURE_SCHEMA,
    check_blendshapes,
    project,
    project_backward,
    structure_arguments,
)
from biomechau.ops.tracing import jit_trace, only_ops_recorded


@float32_under_autocast
def force_projection(
    blendshapes: Tensor | PackedBlendshapes,
    distribution: SparseMatrix,
    force: Tensor,
    directions: Tensor | None = None,
) -> Tensor:
    """Generalized force (Eq. 9): Q_k = sum_i B_k(i)^T sum_m P(i,m) F_m.

    Equivalent to ``torch.einsum("kna,...na->...k", blendshapes, distribution.dense() @ force)``, but the vertices are
    visited once to build the reduced projection, not once per frame. With packed blendshapes and a P that needs no
    gradient, it is built in the first call and kept with the blendshapes: each further call is one matrix product. It
    is built again after P or the directions changed. Torch does not count changes through ``.data`` in place, through
    another tensor made of ``.data``, or through numpy: after these, make a new P by ``with_values``.

    Args:
        blendshapes: B, displacements [length], shape (K, N, 3); packed where they are constant.
        distribution: P, (N, M) sparse; its values may require grad.
        force: muscle forces [force unit], shape (..., M, 3); with ``directions`` scalars, shape (..., M).
        directions: unit of force along the fibre at each entry of P, shape (nnz, 3).

    Returns:
        Q [force unit x length], shape (..., K).

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ.
        ValueError: a shape does not fit, or the tensors are on different devices.

    Example:
        >>> P = ops.SparseMatrix.from_dense(torch.tensor([[1.0], [0.5]]))
        >>> ops.force_projection(torch.ones(1, 2, 3), P, torch.tensor([[1.0, 0.0, 3.0]]))
        tensor([6.])
    """
    if jit_trace() is not None:
        return only_ops_recorded(force_projection, blendshapes, distribution, force, directions)
    tensor = unpacked(blendshapes)
    check_blendshapes(tensor, distribution, directions, ("blendshapes", "force"), force)
    check_force(distribution, force, directions)
    if runs_reference(force):
        return reference.force_projection(tensor, distribution, force, directions)
    if isinstance(blendshapes, PackedBlendshapes):
        kept = _kept_projection(blendshapes, distribution, directions)
        if kept is not None:
            return (force.flatten(-2) if directions is None else force) @ kept.T
    structure = structure_arguments(blendshapes, distribution)
    return _op(tensor, distribution.val, force, directions, *structure)


def _kept_projection(
    blendshapes: PackedBlendshapes, distribution: SparseMatrix, directions: Tensor | None
) -> Tensor | None:
    """A as (K, force components) if nothing that it is made of can change or needs a gradient, else None."""
    if (
        distribution.val.requires_grad
        or blendshapes.dense.is_meta
        or tracing.goes_to_dispatcher()
        or tracing.num_paused  # A may depend on a graph's inputs
        or any(
            t is not None and (t.requires_grad or t.is_inference() or tracing.has_tangent(t))
            for t in (distribution.val, directions)
        )
    ):
        return None
    kept = blendshapes.kept.get(distribution)
    if kept is None or not kept.is_of(distribution, directions):
        with torch.inference_mode(False), torch.no_grad():
            structure = structure_arguments(blendshapes, distribution)
            projection = project(blendshapes.dense, distribution.val, directions, *structure)
        kept = blendshapes.kept[distribution] = KeptProjection(distribution, directions, projection.flatten(1))
    return kept.matrix


def _sizes(force: Tensor, projection: Tensor, directions: Tensor | None) -> tuple[int, int, int]:
    """Frames, shapes and force components of the matrix product Q = F A^T."""
    num_inputs = projection.shape[1] * (3 if directions is None else 1)
    return batch_shape(force, directions).numel(), projection.shape[0], num_inputs


def _forward(
    blendshapes: Tensor, val: Tensor, force: Tensor, directions: Tensor | None, *structure: Any
) -> tuple[Tensor, Tensor]:
    projection = project(blendshapes, val, directions, *structure)
    out = force.new_empty(*batch_shape(force, directions), projection.shape[0])
    _core.apply_projection_fwd(*_sizes(force, projection, directions), projection, force, out, place(force))
    return out, projection


def _fake(
    blendshapes: Tensor, val: Tensor, force: Tensor, directions: Tensor | None, *structure: Any
) -> tuple[Tensor, Tensor]:
    num_shapes = blendshapes.shape[0]
    num_muscles = structure[-1].fields[-1]
    shape = (num_shapes, num_muscles) if directions is not None else (num_shapes, num_muscles, 3)
    return force.new_empty(*batch_shape(force, directions), num_shapes), force.new_empty(*shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs[:4], output[1])
    ctx.structure = inputs[4:]
    ctx.mark_non_differentiable(output[1])


def _backward(ctx: Any, needs: Sequence[bool], grad_out: Tensor, *_: Any) -> Sequence[Tensor | None]:
    return _bwd_op(*ctx.saved_tensors, grad_out, needs, *ctx.structure)


def _bwd(
    blendshapes: Tensor,
    val: Tensor,
    force: Tensor,
    directions: Tensor | None,
    projection: Tensor,
    grad_out: Tensor,
    needs: Sequence[bool],
    *structure: Any,
) -> list[Tensor | None]:
    need_blendshapes, need_val, need_force, need_directions = needs
    need_projection = need_blendshapes or need_val or need_directions
    grad_projection, grad_force = empty_gradients((need_projection, need_force), projection, force)
    sizes = _sizes(force, projection, directions)
    scratch = workspace(force, _core.apply_projection_bwd_workspace, *sizes)
    _core.apply_projection_bwd(*sizes, projection, force, grad_out, grad_projection, grad_force, scratch, place(force))
    if not need_projection:
        return [None, None, grad_force, None]
    assert grad_projection is not None
    grad_blendshapes, grad_val, grad_directions = project_backward(
        blendshapes, val, directions, grad_projection, (need_blendshapes, need_val, need_directions), *structure
    )
    return [grad_blendshapes, grad_val, grad_force, grad_directions]


def _bwd_fake(*inputs: Any) -> list[Tensor | None]:
    return empty_gradients(inputs[6], *inputs[:4])


_bwd_op = register(
    "force_projection_bwd",
    "(Tensor blendshapes, Tensor val, Tensor force, Tensor? directions, Tensor projection, Tensor grad_out, "
    f"bool[] needs, {STRUCTURE_SCHEMA}) -> Tensor[]",
    _bwd,
    _bwd_fake,
    records=STRUCTURE,
)
_op = register(
    "force_projection",
    f"(Tensor blendshapes, Tensor val, Tensor force, Tensor? directions, {STRUCTURE_SCHEMA}) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _setup_context,
    _backward,
    differentiable=("blendshapes", "val", "force", "directions"),
    folded=Folded(("force",)),
    records=STRUCTURE,
)
