"""Plain-torch twins of every op: the oracle of the tests and the fallback of the kernels.

Same signatures, same meaning, autograd does the backward pass. Written to be read, not to be fast.
"""

from __future__ import annotations

import torch
from torch import Tensor

from biomechau.ops.sparse import SparseMatrix


def distribute_forces(distribution: SparseMatrix, force: Tensor, directions: Tensor | None = None) -> Tensor:
    """Eq. 1: F_ext(i) = sum_m P(i,m) F_m, or sum_m P(i,m) d_m(i) F_m with fibre directions."""
    if directions is None:
        entries = distribution.val[:, None] * force[..., distribution.col, :]
    else:
        entries = (distribution.val[:, None] * directions) * force[..., distribution.col, None]
    out = entries.new_zeros((*entries.shape[:-2], distribution.shape[0], 3))
    return out.index_add(-2, distribution.row, entries)


def reduced_projection(blendshapes: Tensor, distribution: SparseMatrix, directions: Tensor | None = None) -> Tensor:
    """A[k,m,:] = sum_i P(i,m) B_k(i), or A[k,m] = sum_i P(i,m) B_k(i)^T d_m(i) with fibre directions."""
    entries = distribution.val[:, None] * blendshapes[:, distribution.row]
    if directions is not None:
        entries = (entries * directions).sum(-1)
    out = entries.new_zeros((blendshapes.shape[0], distribution.shape[1], *entries.shape[2:]))
    return out.index_add(1, distribution.col, entries)


def force_projection(
    blendshapes: Tensor, distribution: SparseMatrix, force: Tensor, directions: Tensor | None = None
) -> Tensor:
    """Eq. 9: Q_k = sum_i B_k(i)^T F_ext(i), through every vertex, as the paper writes it."""
    return torch.einsum("kna,...na->...k", blendshapes, distribute_forces(distribution, force, directions))


def generalized_mass(blendshapes: Tensor, mass: Tensor, scale: float = 1.0) -> Tensor:
    """Eq. 4: M = scale sum_i m_i B(i)^T B(i)."""
    flat = blendshapes.flatten(1)
    return scale * ((flat * mass.repeat_interleave(3, -1)[..., None, :]) @ flat.mT)


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
    num_frames = force.shape[-2]
    per_frame = mass.ndim == force.ndim + 1
    zero = mass.new_zeros(mass.shape[-2:])
    mass = (mass + mass.mT) / 2
    damping = zero if damping is None else (damping + damping.mT) / 2
    stiffness = zero if stiffness is None else (stiffness + stiffness.mT) / 2
    system = mass + dt * damping + dt * dt * stiffness if scheme == "implicit" else mass
    factor = cholesky(system, "mass + dt damping + dt^2 stiffness" if scheme == "implicit" else "mass")

    def apply(matrix: Tensor, vector: Tensor) -> Tensor:
        return (matrix @ vector[..., None])[..., 0]

    def solve(rhs: Tensor, t: int) -> Tensor:
        return torch.cholesky_solve(rhs[..., None], factor[..., t, :, :] if per_frame else factor)[..., 0]

    c, v = c0, v0
    cs, vs = [], []
    for t in range(num_frames):
        if scheme == "implicit":
            v_next = solve(apply(mass, v) + dt * (force[..., t, :] - apply(stiffness, c)), t)
        else:
            v_next = v + dt * solve(force[..., t, :] - apply(damping, v) - apply(stiffness, c), t)
        c = c + dt * (v if scheme == "explicit" else v_next)
        v = v_next
        cs.append(c)
        vs.append(v)
    if not cs:
        return force.clone(), force.clone()
    return torch.stack(cs, -2), torch.stack(vs, -2)


def cholesky(matrix: Tensor, name: str) -> Tensor:
    """Lower Cholesky factor of (..., K, K), or ``ValueError`` naming the first matrix that has none."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    # A pivot this small against its diagonal entry is rounding: the matrix is singular in this precision.
    tolerance = matrix.shape[-1] * torch.finfo(matrix.dtype).eps
    pivots = factor.detach().diagonal(dim1=-2, dim2=-1) ** 2
    bad = (info != 0) | ~(pivots > tolerance * matrix.detach().diagonal(dim1=-2, dim2=-1)).all(-1)
    if bool(bad.any()):
        where = matrix.shape[:-2]
        index = int(bad.flatten().nonzero()[0])
        place = f" of sequence {index}" if where else ""
        raise ValueError(f"{name}{place} must be symmetric positive definite: its Cholesky factorisation fails")
    return factor
