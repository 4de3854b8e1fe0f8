"""Plain-torch twins of every op: the oracle of the tests and the fallback of the kernels.

Same signatures, same meaning; autograd does the backward pass. Written to be read, not to be fast.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np
import torch
from torch import Tensor

from biomechau.ops import _check
from biomechau.ops._matrices import IMPLICIT_SYSTEM, cholesky, require, symmetric
from biomechau.ops._packed_arguments import unpacked
from biomechau.ops._packed_blendshapes import PackedBlendshapes
from biomechau.ops._sparse import SparseMatrix
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import goes_to_dispatcher, refuse_in_jit_trace

if TYPE_CHECKING:
    from biomechau.ops._modal_system import ModalSystem

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def _twin(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Like the kernels: in float32 under autocast."""
    in_full_precision = float32_under_autocast(function)
    names = list(inspect.signature(function).parameters)

    @functools.wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        # The trace would hold the loop over the frames of this length only, and the checks of this input.
        refuse_in_jit_trace(
            f"the plain-torch twin of {function.__name__}", "use torch.export, or the kernels of the CPU"
        )
        for argument, value in (*zip(names, args, strict=False), *kwargs.items()):
            if isinstance(value, np.ndarray):
                raise TypeError(f"{argument} must be a torch.Tensor, got ndarray")
        return in_full_precision(*args, **kwargs)

    return run


@_twin
def distribute_forces(distribution: SparseMatrix, force: Tensor, directions: Tensor | None = None) -> Tensor:
    """Eq. 1: F_ext(i) = sum_m P(i,m) F_m, or sum_m P(i,m) d_m(i) F_m with fibre directions."""
    if directions is None:
        entries = distribution.val[:, None] * force[..., distribution.col, :]
    else:
        entries = (distribution.val[:, None] * directions) * force[..., distribution.col, None]
    out = entries.new_zeros((*entries.shape[:-2], distribution.shape[0], 3))
    return out.index_add(-2, distribution.row, entries)


@_twin
def reduced_projection(
    blendshapes: Tensor | PackedBlendshapes, distribution: SparseMatrix, directions: Tensor | None = None
) -> Tensor:
    """A[k,m,:] = sum_i P(i,m) B_k(i), or A[k,m] = sum_i P(i,m) B_k(i)^T d_m(i) with fibre directions."""
    blendshapes = unpacked(blendshapes)
    entries = distribution.val[:, None] * blendshapes[:, distribution.row]
    if directions is not None:
        entries = (entries * directions).sum(-1)
    out = entries.new_zeros((blendshapes.shape[0], distribution.shape[1], *entries.shape[2:]))
    return out.index_add(1, distribution.col, entries)


@_twin
def force_projection(
    blendshapes: Tensor | PackedBlendshapes,
    distribution: SparseMatrix,
    force: Tensor,
    directions: Tensor | None = None,
) -> Tensor:
    """Eq. 9: Q_k = sum_i B_k(i)^T F_ext(i), through every vertex, as the paper writes it."""
    return torch.einsum("kna,...na->...k", unpacked(blendshapes), distribute_forces(distribution, force, directions))


@_twin
def generalized_mass(blendshapes: Tensor | PackedBlendshapes, mass: Tensor, scale: float = 1.0) -> Tensor:
    """Eq. 4: M = scale sum_i m_i B(i)^T B(i)."""
    blendshapes = unpacked(blendshapes)
    require((mass >= 0) & mass.isfinite(), lambda index: _check.bad_mass(mass, index))
    flat = blendshapes.flatten(1)
    return scale * ((flat * mass.repeat_interleave(3, -1)[..., None, :]) @ flat.mT)


@_twin
def chebyshev_conv(
    x: Tensor,
    laplacian: SparseMatrix,
    weight: Tensor,
    bias: Tensor | None = None,
    vertices: Tensor | None = None,
) -> Tensor:
    """y = sum_k T_k(S) x W_k + b, term after term, at all vertices or some."""
    if not (goes_to_dispatcher() or x.is_meta or laplacian.is_symmetric):
        raise ValueError("laplacian must be symmetric")
    # Vertices first, so that all frames share one sparse product.
    first = x.movedim(-2, 0)
    before = term = first.flatten(1) if first.numel() else first.reshape(len(first), 0)
    kept = slice(None) if vertices is None else vertices
    out = first[kept] @ weight[0]
    for k in range(1, len(weight)):
        product = _symmetric_product(laplacian, term)
        before, term = term, product if k == 1 else 2 * product - before
        out = out + term[kept].reshape(out.shape[:-1] + first.shape[-1:]) @ weight[k]
    return (out if bias is None else out + bias).movedim(0, -2)


@_twin
def euler_rollout(
    mass: Tensor,
    force: Tensor,
    c0: Tensor,
    v0: Tensor,
    dt: float = 1.0,
    damping: Tensor | None = None,
    stiffness: Tensor | None = None,
    scheme: str = "explicit",
) -> tuple[Tensor, Tensor]:
    """Eq. 6, step by step: M c'' + D c' + K c = Q with M, D, K symmetric."""
    _check.positive_number("dt", dt)
    _check.scheme(scheme)
    num_frames, num_batch_axes = force.shape[-2], force.ndim - 2
    per_frame = mass.ndim == force.ndim + 1
    implicit = scheme == "implicit"
    mass, damping, stiffness = (
        mass.new_zeros(mass.shape[-2:]) if matrix is None else symmetric(name, matrix, num_batch_axes)
        for name, matrix in (("mass", mass), ("damping", damping), ("stiffness", stiffness))
    )
    factor = cholesky("mass", mass, num_batch_axes)
    if implicit:
        factor = cholesky(IMPLICIT_SYSTEM, mass + dt * damping + dt * dt * stiffness, num_batch_axes)

    def apply(matrix: Tensor, vector: Tensor) -> Tensor:
        return (matrix @ vector[..., None])[..., 0]

    c, v = c0, v0
    cs, vs = [], []
    for t in range(num_frames):
        ahead = c + dt * v if implicit else c
        rhs = force[..., t, :] - apply(damping, v) - apply(stiffness, ahead)
        a = torch.cholesky_solve(rhs[..., None], factor[..., t, :, :] if per_frame else factor)[..., 0]
        v_next = v + dt * a
        c = c + dt * (v if scheme == "explicit" else v_next)
        v = v_next
        cs.append(c)
        vs.append(v)
    if not cs:
        return force.clone(), force.clone()
    return torch.stack(cs, -2), torch.stack(vs, -2)


@_twin
def modal_rollout(
    system: ModalSystem, force: Tensor | None, c0: Tensor, v0: Tensor, muscle_force: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Eq. 9 and 6: M c'' + D c' + K c = Q + A F, step by step with the matrices themselves."""
    total = force
    if muscle_force is not None:
        assert system.projection is not None
        num_axes = system.projection.ndim - 1
        pull = muscle_force.flatten(-num_axes) @ system.projection.flatten(1).mT
        total = pull if force is None else force + pull
    assert total is not None
    return euler_rollout(system.mass, total, c0, v0, system.dt, system.damping, system.stiffness, system.scheme)


def _symmetric_product(matrix: SparseMatrix, x: Tensor) -> Tensor:
    """S x for a symmetric S (N, N) and a dense x (N, C)."""
    if goes_to_dispatcher() or x.is_meta:  # none of them supports CSR tensors
        return torch.zeros_like(x).index_add(0, matrix.row, matrix.val[:, None] * x[matrix.col])
    return _CsrProduct.apply(matrix.crow, matrix.col, matrix.val, x)


class _CsrProduct(torch.autograd.Function):
    """Torch's product with a CSR tensor, without its own derivative, which would transpose S every time."""

    @staticmethod
    def forward(ctx: Any, crow: Tensor, col: Tensor, val: Tensor, x: Tensor) -> Tensor:
        ctx.save_for_backward(crow, col, val)
        with warnings.catch_warnings():  # the one that CSR tensors are in beta
            warnings.filterwarnings("ignore", "Sparse CSR", UserWarning)
            matrix = torch.sparse_csr_tensor(crow, col, val, (len(x), len(x)), check_invariants=False)
        return matrix @ x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, _CsrProduct.apply(*ctx.saved_tensors, grads[0].contiguous())
