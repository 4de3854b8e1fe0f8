"""Generalized mass of a blendshape basis (Eq. 4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, _costs, reference
from biomechau.ops._backend import fault_flag, place, runs_reference, workspace
from biomechau.ops._packed_arguments import PackedArguments, core_blendshapes, packed_arguments, unpacked
from biomechau.ops._packed_blendshapes import PackedBlendshapes
from biomechau.ops._records import Constants, schema
from biomechau.ops._registration import Folded, empty_gradients, register
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import jit_trace, only_ops_recorded


@float32_under_autocast
def generalized_mass(blendshapes: Tensor | PackedBlendshapes, mass: Tensor, scale: float = 1.0) -> Tensor:
    """M = scale sum_i m_i B(i)^T B(i), with B(i) = [B_1(i) ... B_K(i)] (Eq. 4).

    The kinetic energy gives ``scale=1``; the paper prints 1/2, which doubles every acceleration. Equivalent to
    ``scale * (B * m.repeat_interleave(3)) @ B.mT`` with B flattened to (K, 3 N).

    Args:
        blendshapes: B, displacements [length], shape (K, N, 3); packed where they are constant.
        mass: vertex masses [mass], shape (..., N), none negative.
        scale: factor of the sum, > 0.

    Returns:
        M [mass x length^2], shape (..., K, K), symmetric positive semi-definite.

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ; scale is not a Python number.
        ValueError: a shape does not fit, the devices differ, scale is not positive, or a mass is negative or not finite
            (the error names it). On a GPU a check of the masses would mean waiting for it: there M of such a sequence
            is NaN, unless ``BIOMECHAU_CUDA_CHECKS=1`` asks for the error.

    Example:
        >>> ops.generalized_mass(torch.ones(2, 4, 3), torch.full((4,), 0.25))
        tensor([[3., 3.],
                [3., 3.]])
    """
    if jit_trace() is not None:
        return only_ops_recorded(generalized_mass, blendshapes, mass, scale)
    packed, blendshapes = blendshapes, unpacked(blendshapes)
    _check.same_kind(("blendshapes", "mass"), blendshapes, mass)
    if blendshapes.ndim != 3 or blendshapes.shape[2] != 3:
        raise _check.wrong_shape("blendshapes", blendshapes, "(K, N, 3)")
    if mass.ndim < 1 or mass.shape[-1] != blendshapes.shape[1]:
        raise _check.wrong_shape("mass", mass, f"(..., {blendshapes.shape[1]})")
    _check.positive_number("scale", scale)
    if runs_reference(mass):
        return reference.generalized_mass(blendshapes, mass, scale)
    return _op(blendshapes, mass, float(scale), packed_arguments(packed, "lanes"))


def _forward(blendshapes: Tensor, mass: Tensor, scale: float, packed: Constants | None) -> Tensor:
    out = _fake(blendshapes, mass, scale, packed)
    num_shapes, num_vertices, _ = blendshapes.shape
    num_sequences = mass.shape[:-1].numel()
    fault = fault_flag(mass)
    if _costs.prefers_products("generalized_mass", mass, num_sequences):
        return _by_products(blendshapes, mass, scale, wait=fault is not None)
    scratch = workspace(mass, _core.generalized_mass_fwd_workspace, num_sequences, num_vertices, num_shapes)
    bad = _core.generalized_mass_fwd(
        num_sequences,
        num_vertices,
        num_shapes,
        scale,
        *core_blendshapes(blendshapes, packed),
        mass,
        out,
        scratch,
        fault,
        place(blendshapes),
    )
    if fault is not None:
        bad = int(fault)
    if bad >= 0:
        raise _check.bad_mass(mass, bad)
    return out


# Entries of the table of products that are in memory together.
_MOST_PRODUCTS = 2**26


def _by_products(blendshapes: Tensor, mass: Tensor, scale: float, wait: bool) -> Tensor:
    """The forward pass as two products of torch, where these cost less than the kernel: the same results.

    The table of the products of any two shapes at each vertex, (N, K, K), is multiplied by the masses, piece by piece.
    """
    num_shapes, num_vertices, _ = blendshapes.shape
    good = (mass >= 0) & mass.isfinite()
    if wait and not bool(good.all()):
        raise _check.bad_mass(mass, int((~good).flatten().nonzero()[0]))
    masses = torch.where(good, mass, torch.nan).reshape(-1, num_vertices)  # NaN in the sequence, as by the kernel
    out = mass.new_zeros(len(masses), num_shapes * num_shapes)
    length = max(1, _MOST_PRODUCTS // max(1, num_shapes * num_shapes))
    for start in range(0, num_vertices, length):
        by_vertex = blendshapes[:, start : start + length].transpose(0, 1)
        products = by_vertex @ by_vertex.mT
        out.addmm_(masses[:, start : start + length], products.flatten(1))
    out = out.reshape(*mass.shape[:-1], num_shapes, num_shapes)
    return (out + out.mT) * (scale / 2)


def _fake(blendshapes: Tensor, mass: Tensor, scale: float, packed: Constants | None) -> Tensor:
    num_shapes = blendshapes.shape[0]
    return mass.new_empty(*mass.shape[:-1], num_shapes, num_shapes)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    blendshapes, mass, ctx.scale, ctx.packed = inputs
    ctx.save_for_backward(blendshapes, mass)


def _backward(ctx: Any, needs: Sequence[bool], grad_out: Tensor) -> Sequence[Tensor | None]:
    return _bwd_op(*ctx.saved_tensors, ctx.scale, grad_out, needs, ctx.packed)


def _bwd(
    blendshapes: Tensor, mass: Tensor, scale: float, grad_out: Tensor, needs: Sequence[bool], packed: Constants | None
) -> list[Tensor | None]:
    grads = grad_blendshapes, grad_mass = empty_gradients(needs, blendshapes, mass)
    num_shapes, num_vertices, _ = blendshapes.shape
    num_sequences = mass.shape[:-1].numel()
    scratch = workspace(mass, _core.generalized_mass_bwd_workspace, num_sequences, num_shapes)
    _core.generalized_mass_bwd(
        num_sequences,
        num_vertices,
        num_shapes,
        scale,
        *core_blendshapes(blendshapes, packed),
        mass,
        grad_out,
        grad_blendshapes,
        grad_mass,
        scratch,
        place(blendshapes),
    )
    return grads


def _bwd_fake(
    blendshapes: Tensor, mass: Tensor, scale: float, grad_out: Tensor, needs: Sequence[bool], packed: Constants | None
) -> list[Tensor | None]:
    return empty_gradients(needs, blendshapes, mass)


_INPUTS, _PACKED = "Tensor blendshapes, Tensor mass, float scale", schema(PackedArguments)
_bwd_op = register(
    "generalized_mass_bwd",
    f"({_INPUTS}, Tensor grad_out, bool[] needs, {_PACKED}) -> Tensor[]",
    _bwd,
    _bwd_fake,
    records=(PackedArguments,),
)
_op = register(
    "generalized_mass",
    f"({_INPUTS}, {_PACKED}) -> Tensor",
    _forward,
    _fake,
    _setup_context,
    _backward,
    differentiable=("blendshapes", "mass"),
    folded=Folded(("mass",)),
    records=(PackedArguments,),
)
