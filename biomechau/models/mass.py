"""Generalized masses predicted by a network: positive definite."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from biomechau import ops
from biomechau.physics.dynamics import FaceDynamics
from biomechau.rig.face_rig import FaceRig

# Largest change of a mass by a network, as a logarithm: a factor of e^0.5, about 1.6.
_LOG_RANGE = 0.5


class FixedMass(nn.Module):
    """The mass of the dynamics itself, without parameters."""

    num_parameters = 0

    def forward(self, parameters: Tensor) -> None:
        """None: the mass of the dynamics."""
        return None


class RegionMass(nn.Module):
    """M = a s sum_r w_r sum_{i in r} m_i B(i)^T B(i): the face's mass with each region's share scaled.

    w_r = exp(tanh(p_r) / 2), and a keeps the trace of M, because the scales of M and of the forces are not identifiable
    together. Parameters of 0 give the mass of the dynamics.

    Args:
        dynamics: the model.
        rig: the face it was built from.
        num_regions: regions of the face, see :func:`face_regions`.

    Raises:
        ValueError: a rig with another number of vertices than the model, or as :func:`face_regions`.
    """

    parts: Tensor

    def __init__(self, dynamics: FaceDynamics, rig: FaceRig, num_regions: int = 6) -> None:
        super().__init__()
        if rig.num_vertices != dynamics.blendshapes.shape[1]:
            raise ValueError(
                f"the rig has {rig.num_vertices} vertices, the dynamics were built for {dynamics.blendshapes.shape[1]}"
            )
        self.num_parameters = num_regions
        member = face_regions(rig, num_regions) == torch.arange(num_regions)[:, None]
        masses = member * rig.vertex_masses.double() * dynamics.config.total_mass
        parts = ops.generalized_mass(dynamics.blendshapes.cpu().double(), masses, dynamics.config.mass_scale)
        self.register_buffer("parts", parts.to(dynamics.mass), persistent=False)

    def forward(self, parameters: Tensor) -> Tensor:
        """p (..., R) to M (..., K', K')."""
        weights = (_LOG_RANGE * parameters.tanh()).exp()
        return _with_trace(torch.tensordot(weights, self.parts, 1), _trace(self.parts.sum(0)))


class CholeskyMass(nn.Module):
    """M = a L0 X X^T L0^T with L0 L0^T the mass of the dynamics and X lower triangular.

    The diagonal of X is exp(tanh(p) / 2), its other entries tanh(p) / (2 K'), and a keeps the trace of M. If it is
    free, the diagonal is exp(p), the other entries are p / K', and a is 1: every positive definite matrix can be
    reached. Parameters of 0 give the mass of the dynamics.

    Args:
        dynamics: the model.
        free: neither bounds nor a fixed trace.
    """

    factor: Tensor

    def __init__(self, dynamics: FaceDynamics, free: bool = False) -> None:
        super().__init__()
        self.free = free
        size = dynamics.num_shapes
        self.num_parameters = size * (size + 1) // 2
        factor = torch.linalg.cholesky(dynamics.mass.double()).to(dynamics.mass)
        self.register_buffer("factor", factor, persistent=False)

    def forward(self, parameters: Tensor) -> Tensor:
        """p (..., K' (K' + 1) / 2) to M (..., K', K')."""
        size = len(self.factor)
        entries = parameters if self.free else _LOG_RANGE * parameters.tanh()
        row, col = torch.tril_indices(size, size, -1, device=parameters.device)
        x = entries.new_zeros(*entries.shape[:-1], size, size)
        x[..., row, col] = entries[..., size:] / size
        x = x + torch.diag_embed(entries[..., :size].exp())
        root = self.factor @ x
        mass = root @ root.mT
        return mass if self.free else _with_trace(mass, self.factor.square().sum())


def face_regions(rig: FaceRig, num_regions: int = 6) -> Tensor:
    """Regions of the face, (N,) int64: for each vertex, which of a few spread-out seed vertices is nearest.

    The first seed is the vertex farthest from the face's centre, each further one the vertex farthest from all previous
    seeds; the result is deterministic.

    Raises:
        ValueError: fewer than one region, or more regions than vertices.
    """
    if not 1 <= num_regions <= rig.num_vertices:
        raise ValueError(f"num_regions must lie in [1, {rig.num_vertices}], got {num_regions}")
    positions = rig.neutral.detach().cpu().double()
    centre = int((positions - positions.mean(0)).norm(dim=1).argmax())
    distances = []
    for _ in range(num_regions):
        distances.append((positions - positions[centre]).norm(dim=1))
        centre = int(torch.stack(distances).amin(0).argmax())
    return torch.stack(distances).argmin(0)


def _trace(matrix: Tensor) -> Tensor:
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)


def _with_trace(matrix: Tensor, trace: Tensor) -> Tensor:
    return matrix * (trace / _trace(matrix))[..., None, None]
