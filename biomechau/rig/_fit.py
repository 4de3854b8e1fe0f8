"""Blendshape coefficients of mesh sequences, by bounded least squares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from biomechau.rig.bounded_least_squares import solve_bounded
from biomechau.rig.left_over import LeftOverSums

Bound = float | Sequence[float] | Tensor
# Frames solved at a time; their displacements take 29 MB at 9,409 vertices.
_CHUNK = 256
# An alignment has converged when the remaining motion is below this [rad]; each round gains about two digits.
_ALIGNED = 1e-8
_MAX_ALIGNMENTS = 50


@torch.no_grad()
def fit_coefficients(
    neutral: Tensor,
    blendshapes: Tensor,
    vertices: Tensor,
    chosen: Sequence[int],
    masses: Tensor,
    ridge: float,
    bounds: tuple[Bound, Bound],
    rigid: bool,
    progress: Callable[[int, int], None] | None,
    left_over: LeftOverSums | None = None,
) -> Tensor:
    """Implementation of :meth:`biomechau.FaceRig.fit` on plain tensors.

    Args:
        neutral: (N, 3) positions at rest [cm].
        blendshapes: (K, N, 3) [cm].
        vertices: (..., N, 3) positions [cm].
        chosen: indices of the shapes to fit.
        masses: (N,) weights.
        ridge, bounds, rigid, progress, left_over: as for :meth:`biomechau.FaceRig.fit`.
    """
    _check_vertices(neutral, vertices)
    if not (math.isfinite(ridge) and ridge >= 0):
        raise ValueError(f"ridge must be >= 0, got {ridge}")
    if not chosen:
        raise ValueError("a fit needs at least one shape, got none")
    lower, upper = _check_bounds(bounds, len(chosen), vertices.device)
    weights = _check_masses(masses, len(neutral))

    # In float32 the rounding of the rotated positions would keep the alignment from settling.
    dtype = torch.float64 if rigid else vertices.dtype
    rest = neutral.to(dtype)
    basis = blendshapes[chosen].double()
    if rigid:
        center = (weights[:, None] * neutral).sum(0) / weights.sum()
        basis = torch.cat([basis, _rigid_modes(neutral - center)])
        free = lower.new_full((6,), math.inf)
        lower, upper = torch.cat([lower, -free]), torch.cat([upper, free])
    weighted = (basis * weights[:, None]).flatten(1)
    gram = weighted @ basis.flatten(1).T
    diagonal = gram.diagonal()[: len(chosen)]
    diagonal += ridge * diagonal.mean()
    weighted = weighted.to(dtype)

    def solve(positions: Tensor) -> Tensor:
        return solve_bounded(gram, ((positions - rest).flatten(1) @ weighted.T).double(), lower, upper)

    frames = vertices.reshape(-1, *vertices.shape[-2:])
    coefficients = vertices.new_zeros((len(frames), len(blendshapes)))
    for start in range(0, len(frames), _CHUNK):
        chunk = frames[start : start + _CHUNK].to(dtype)
        fitted, chunk = _solve_with_motion(chunk, start, rest, weights, solve) if rigid else (solve(chunk), chunk)
        fitted = fitted[:, : len(chosen)]
        coefficients[start : start + len(chunk), chosen] = fitted.to(vertices.dtype)
        if left_over is not None:
            displacement = chunk - rest
            explained = torch.tensordot(fitted.to(dtype), basis[: len(chosen)].to(dtype), 1)
            left_over.add(displacement, displacement - explained, weights)
        if progress is not None:
            progress(start + len(chunk), len(frames))
    return coefficients.reshape(*vertices.shape[:-2], len(blendshapes))


def _rigid_modes(offsets: Tensor) -> Tensor:
    """Six more shapes (6, N, 3): unit translations, and unit rotations about the origin of ``offsets``."""
    axes = torch.eye(3, dtype=torch.float64, device=offsets.device)
    translations = axes[:, None].expand(3, len(offsets), 3)
    return torch.cat([translations, torch.linalg.cross(translations, offsets.double().expand(3, -1, 3))])


def _solve_with_motion(
    positions: Tensor, first: int, neutral: Tensor, weights: Tensor, solve: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Gauss-Newton over pose and coefficients: solve for a small motion along with the shapes, undo it, repeat.

    Returns:
        The solution, and the positions without the motion of the head.
    """
    share = (weights / weights.sum())[:, None]
    center = (share * neutral).sum(-2)
    positions = positions - (share * positions).sum(-2, keepdim=True)
    u, _, vt = torch.linalg.svd(positions.mT @ (share * (neutral - center)))
    mirror = torch.linalg.det(u @ vt).sign()
    vt = torch.cat([vt[..., :2, :], vt[..., 2:, :] * mirror[..., None, None]], -2)
    positions = positions @ (u @ vt) + center
    motion = share.new_zeros(len(positions))
    radius = float((neutral - center).norm(dim=-1).max())
    for _ in range(_MAX_ALIGNMENTS):
        solution = solve(positions)
        shift, turn = solution[:, -6:-3], solution[:, -3:]
        motion = turn.abs().amax(1) + shift.abs().amax(1) / radius
        if bool((motion < _ALIGNED).all()):
            return solution, positions
        # Rows are vertices, so p @ exp([turn]_x) rotates them by -turn.
        skew = torch.linalg.cross(turn[:, None].expand(-1, 3, 3), torch.eye(3).to(turn).expand(len(turn), 3, 3)).mT
        positions = (positions - center - shift[:, None]) @ torch.linalg.matrix_exp(skew) + center
    raise ValueError(
        f"the rigid alignment of frame {first + int(motion.argmax())} does not converge: "
        "is the mesh that of the rig, and in centimetres?"
    )


def _check_vertices(neutral: Tensor, vertices: Tensor) -> None:
    if vertices.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"vertices must be float32 or float64, got {vertices.dtype}")
    expected = tuple(neutral.shape)
    if vertices.ndim < 2 or tuple(vertices.shape[-2:]) != expected:
        raise ValueError(f"vertices must have shape (..., {expected[0]}, 3) like the rig, got {tuple(vertices.shape)}")
    if vertices.device != neutral.device:
        raise ValueError(f"vertices are on {vertices.device}, the rig is on {neutral.device}")
    sums = vertices.sum((-2, -1), dtype=torch.float64)
    if not torch.isfinite(sums).all():
        frame = (~torch.isfinite(sums)).nonzero()[0].tolist()
        broken = vertices[tuple(frame)]
        vertex = int((~torch.isfinite(broken)).any(-1).nonzero()[0])
        index = ", ".join(map(str, frame)) or "0"
        raise ValueError(f"vertices are not finite in frame {index} at vertex {vertex}: {broken[vertex].tolist()}")


def _check_bounds(bounds: tuple[Bound, Bound], num_shapes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    sides = []
    for name, bound in zip(("lower", "upper"), bounds, strict=True):
        value = torch.as_tensor(bound, dtype=torch.float64, device=device)
        if value.ndim and value.shape != (num_shapes,):
            raise ValueError(f"the {name} bound must be a number or {num_shapes} numbers, got {tuple(value.shape)}")
        sides.append(value.expand(num_shapes).clone())
    lower, upper = sides
    if not bool((lower < upper).all()):
        raise ValueError("every lower bound must be less than its upper bound")
    return lower, upper


def _check_masses(masses: Tensor, num_vertices: int) -> Tensor:
    if masses.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"masses must be float32 or float64, got {masses.dtype}")
    if masses.shape != (num_vertices,):
        raise ValueError(f"masses must have shape ({num_vertices},), got {tuple(masses.shape)}")
    if not bool(torch.isfinite(masses).all() and (masses >= 0).all() and masses.sum() > 0):
        raise ValueError("masses must be finite, >= 0 and not all 0")
    return masses.double()
