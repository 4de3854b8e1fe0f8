"""The reduced projection A: from muscle forces directly to blendshape coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import place, runs_reference
from biomechau.ops._distribution import check_distribution, core_index
from biomechau.ops._packed_arguments import (
    PackedArguments,
    SortedArguments,
    core_blendshapes,
    core_sorted,
    packed_arguments,
    sorted_arguments,
    unpacked,
)
from biomechau.ops._packed_blendshapes import PackedBlendshapes
from biomechau.ops._records import Constants, schema
from biomechau.ops._registration import empty_gradients, register
from biomechau.ops._sparse import DistributionIndex, SparseMatrix
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import jit_trace, only_ops_recorded

# B and P as arguments of an op, apart from the tensors that have a gradient.
STRUCTURE = (PackedArguments, SortedArguments, DistributionIndex)
STRUCTURE_SCHEMA = schema(*STRUCTURE)


@float32_under_autocast
def reduced_projection(
    blendshapes: Tensor | PackedBlendshapes, distribution: SparseMatrix, directions: Tensor | None = None
) -> Tensor:
    """The operator of Eq. 9, built once per (B, P): Q = A F without passing through the vertices.

    A[k,m,:] = sum_i P(i,m) B_k(i); with fibre directions A[k,m] = sum_i P(i,m) B_k(i)^T d_m(i).
    Equivalent to ``torch.einsum("nm,kna->kma", distribution.dense(), blendshapes)``.

    Args:
        blendshapes: B, displacements [length], shape (K, N, 3); packed where they are constant.
        distribution: P, (N, M) sparse; its values may require grad.
        directions: unit of force along the fibre at each entry of P, shape (nnz, 3).

    Returns:
        A [length], shape (K, M, 3); with ``directions`` shape (K, M).

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ.
        ValueError: a shape does not fit, or the tensors are on different devices.

    Example:
        >>> P = ops.SparseMatrix.from_dense(torch.tensor([[1.0], [0.5]]))
        >>> ops.reduced_projection(torch.ones(1, 2, 3), P)
        tensor([[[1.5000, 1.5000, 1.5000]]])
    """
    if jit_trace() is not None:
        return only_ops_recorded(reduced_projection, blendshapes, distribution, directions)
    tensor = unpacked(blendshapes)
    check_blendshapes(tensor, distribution, directions, ("blendshapes",))
    if runs_reference(tensor):
        return reference.reduced_projection(tensor, distribution, directions)
    return _op(tensor, distribution.val, directions, *structure_arguments(blendshapes, distribution))


def structure_arguments(
    blendshapes: Tensor | PackedBlendshapes, distribution: SparseMatrix
) -> tuple[Constants | None, Constants | None, Constants]:
    """The arguments that ``STRUCTURE`` names."""
    packed, entries = packed_arguments(blendshapes, "rows"), sorted_arguments(blendshapes, distribution)
    return packed, entries, distribution.index


def check_blendshapes(
    blendshapes: Tensor,
    distribution: SparseMatrix,
    directions: Tensor | None,
    names: tuple[str, ...],
    *others: Tensor,
) -> None:
    """B is (K, N, 3) with the vertices of P; B and the other tensors, with their names, are of one kind."""
    check_distribution(distribution, directions, names, blendshapes, *others)
    good = blendshapes.ndim == 3 and blendshapes.shape[1] == distribution.shape[0] and blendshapes.shape[2] == 3
    if not good:
        raise _check.wrong_shape("blendshapes", blendshapes, f"(K, {distribution.shape[0]}, 3)")


def project(
    blendshapes: Tensor,
    val: Tensor,
    directions: Tensor | None,
    packed: Constants | None,
    entries: Constants | None,
    index: Constants,
) -> Tensor:
    """The kernel on plain tensors; no gradient."""
    out = _fake(blendshapes, val, directions, packed, entries, index)
    _core.reduced_projection_fwd(
        core_index(index),
        val,
        directions,
        blendshapes.shape[0],
        *core_blendshapes(blendshapes, packed),
        core_sorted(entries),
        out,
        place(blendshapes),
    )
    return out


def project_backward(
    blendshapes: Tensor,
    val: Tensor,
    directions: Tensor | None,
    grad_out: Tensor,
    needs: Sequence[bool],
    packed: Constants | None,
    entries: Constants | None,
    index: Constants,
) -> list[Tensor | None]:
    """The gradients that are needed of B, the values of P and the directions."""
    grads = grad_blendshapes, grad_val, grad_directions = empty_gradients(needs, blendshapes, val, directions)
    _core.reduced_projection_bwd(
        core_index(index),
        val,
        directions,
        blendshapes.shape[0],
        *core_blendshapes(blendshapes, packed),
        core_sorted(entries),
        grad_out,
        grad_blendshapes,
        grad_val,
        grad_directions,
        place(blendshapes),
    )
    return grads


def _fake(blendshapes: Tensor, val: Tensor, directions: Tensor | None, *structure: Any) -> Tensor:
    shape = (blendshapes.shape[0], structure[-1].fields[-1])
    return val.new_empty(*shape) if directions is not None else val.new_empty(*shape, 3)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:3])
    ctx.structure = inputs[3:]


def _backward(ctx: Any, needs: Sequence[bool], grad_out: Tensor) -> Sequence[Tensor | None]:
    return _bwd_op(*ctx.saved_tensors, grad_out, needs, *ctx.structure)


def _bwd_fake(
    blendshapes: Tensor,
    val: Tensor,
    directions: Tensor | None,
    grad_out: Tensor,
    needs: Sequence[bool],
    *structure: Any,
) -> list[Tensor | None]:
    return empty_gradients(needs, blendshapes, val, directions)


_bwd_op = register(
    "reduced_projection_bwd",
    f"(Tensor blendshapes, Tensor val, Tensor? directions, Tensor grad_out, bool[] needs, {STRUCTURE_SCHEMA})"
    " -> Tensor[]",
    project_backward,
    _bwd_fake,
    records=STRUCTURE,
)
_op = register(
    "reduced_projection",
    f"(Tensor blendshapes, Tensor val, Tensor? directions, {STRUCTURE_SCHEMA}) -> Tensor",
    project,
    _fake,
    _setup_context,
    _backward,
    differentiable=("blendshapes", "val", "directions"),
    records=STRUCTURE,
)
