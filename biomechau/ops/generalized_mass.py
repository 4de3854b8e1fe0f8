"""Generalized mass of a blendshape basis (Eq. 4)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import buffer, dense, fault_flag, place, runs_reference, workspace
from biomechau.ops._registration import empty_gradients, register, wanted_gradients


def generalized_mass(blendshapes: Tensor, mass: Tensor, scale: float = 1.0) -> Tensor:
    """M = scale sum_i m_i B(i)^T B(i), with B(i) = [B_1(i) ... B_K(i)] (Eq. 4).

    The kinetic energy gives ``scale=1``; the paper prints 1/2, which doubles every acceleration. Equivalent to
    ``scale * (B * m.repeat_interleave(3)) @ B.mT`` with B flattened to (K, 3 N).

    Args:
        blendshapes: B, displacements [length], shape (K, N, 3).
        mass: vertex masses [mass], shape (..., N), none negative.
        scale: factor of the sum, > 0.

    Returns:
        M [mass x length^2], shape (..., K, K), symmetric positive semi-definite.

    Raises:
        TypeError: a tensor is not float32 or float64, or they differ; scale is not a Python number.
        ValueError: a shape does not fit, the devices differ, scale is not positive, or a mass is negative or not finite
            (its place is named). On a GPU nobody waits for the last: such a sequence's M is NaN, unless
            ``BIOMECHAU_CUDA_CHECKS=1`` asks for the error.

    Example:
        >>> ops.generalized_mass(torch.ones(2, 4, 3), torch.full((4,), 0.25))
        tensor([[3., 3.],
                [3., 3.]])
    """
    _check.same_kind(blendshapes=blendshapes, mass=mass)
    if blendshapes.ndim != 3 or blendshapes.shape[2] != 3:
        raise _check.wrong_shape("blendshapes", blendshapes, "(K, N, 3)")
    if mass.ndim < 1 or mass.shape[-1] != blendshapes.shape[1]:
        raise _check.wrong_shape("mass", mass, f"(..., {blendshapes.shape[1]})")
    _check.positive_number("scale", scale)
    if runs_reference(mass.device):
        return reference.generalized_mass(blendshapes, mass, scale)
    return _op(blendshapes, mass, float(scale))


def _forward(blendshapes: Tensor, mass: Tensor, scale: float) -> Tensor:
    blendshapes, mass = dense(blendshapes), dense(mass)
    out = _fake(blendshapes, mass, scale)
    num_shapes, num_vertices, _ = blendshapes.shape
    num_sequences = mass.shape[:-1].numel()
    fault = fault_flag(mass)
    scratch = workspace(mass, _core.generalized_mass_fwd_workspace, num_sequences, num_vertices, num_shapes)
    bad = _core.generalized_mass_fwd(
        num_sequences,
        num_vertices,
        num_shapes,
        scale,
        buffer(blendshapes),
        buffer(mass),
        buffer(out),
        buffer(scratch),
        buffer(fault),
        place(blendshapes),
    )
    if fault is not None:
        bad = int(fault)
    if bad >= 0:
        raise _check.bad_mass(mass, bad)
    return out


def _fake(blendshapes: Tensor, mass: Tensor, scale: float) -> Tensor:
    num_shapes = blendshapes.shape[0]
    return mass.new_empty((*mass.shape[:-1], num_shapes, num_shapes))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    blendshapes, mass, ctx.scale = inputs
    ctx.save_for_backward(blendshapes, mass)


def _backward(ctx: Any, grad_out: Tensor) -> tuple[Any, ...]:
    needs = list(ctx.needs_input_grad[:2])
    return wanted_gradients(_bwd_op(*ctx.saved_tensors, ctx.scale, grad_out, needs), needs, others=1)


def _bwd(blendshapes: Tensor, mass: Tensor, scale: float, grad_out: Tensor, needs: list[bool]) -> list[Tensor]:
    blendshapes, mass, grad_out = dense(blendshapes), dense(mass), dense(grad_out)
    grads = empty_gradients(needs, blendshapes, mass)
    num_shapes, num_vertices, _ = blendshapes.shape
    num_sequences = mass.shape[:-1].numel()
    scratch = workspace(mass, _core.generalized_mass_bwd_workspace, num_sequences, num_shapes)
    grad_blendshapes, grad_mass = map(buffer, grads)
    _core.generalized_mass_bwd(
        num_sequences,
        num_vertices,
        num_shapes,
        scale,
        buffer(blendshapes),
        buffer(mass),
        buffer(grad_out),
        grad_blendshapes,
        grad_mass,
        buffer(scratch),
        place(blendshapes),
    )
    return grads


def _bwd_fake(blendshapes: Tensor, mass: Tensor, scale: float, grad_out: Tensor, needs: list[bool]) -> list[Tensor]:
    return empty_gradients(needs, blendshapes, mass)


_bwd_op = register(
    "generalized_mass_bwd",
    "(Tensor blendshapes, Tensor mass, float scale, Tensor grad_out, bool[] needs) -> Tensor[]",
    _bwd,
    _bwd_fake,
)
_op = register(
    "generalized_mass",
    "(Tensor blendshapes, Tensor mass, float scale) -> Tensor",
    _forward,
    _fake,
    _setup_context,
    _backward,
)
