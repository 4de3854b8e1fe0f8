"""Elastic terms: springs along the mesh edges, acting on vertices and projected on blendshape coefficients."""

from __future__ import annotations

import scipy.sparse
import scipy.sparse.csgraph
import torch
from torch import Tensor

from biomechau.physics.physics_config import PhysicsConfig
from biomechau.rig.face_rig import FaceRig

# Stretch of the edges, as a fraction of the mass, that is nothing but rounding.
_RIGID = 1e-9


class ElasticLaw:
    """K = w0^2 [(1 - e) M + e kappa Kel] with kappa = tr M / tr Kel, and D = 2 zeta K / w0 or 2 zeta w0 M.

    Every vertex is anchored at its rest position and tied to its neighbours by springs along the edges.

    Args:
        rig: the face at rest.
        blendshapes: B [cm], shape (K, N, 3), float64.
        mass: M, shape (K, K), float64.
        config: f0, zeta, what damps, and the edge fraction e.

    Attributes:
        stiffness: K [mass / s^2], shape (K, K).
        damping: D [mass / s], shape (K, K).

    Raises:
        ValueError: an edge without length, or springs that no shape stretches.
    """

    def __init__(self, rig: FaceRig, blendshapes: Tensor, mass: Tensor, config: PhysicsConfig) -> None:
        self._laplacian = edge_laplacian(rig.edges, edge_stiffness(rig), rig.num_vertices)
        springs = projected_stiffness(blendshapes, self._laplacian)
        self._anchor = config.omega**2 * (1 - config.edge_fraction)
        stretch = float(springs.trace())
        if config.edge_fraction > 0 and stretch <= _RIGID * float(mass.trace()):
            raise ValueError("the shapes stretch no edge, so springs do not act on them; set edge_fraction to 0")
        kappa = float(mass.trace()) / stretch if stretch > 0 else 0.0
        self._spring = config.omega**2 * config.edge_fraction * kappa
        self.stiffness = self._anchor * mass + self._spring * springs
        viscous = mass * config.omega if config.damping == "mass" else self.stiffness / config.omega
        self.damping = 2 * config.zeta * viscous

    def static_force(self, inertia: Tensor, displacement: Tensor) -> Tensor:
        """The force field that holds the face displaced: w0^2 [(1 - e) s m_i u(i) + e kappa (L u)(i)].

        Its projection on the blendshapes is K c for u = B c.

        Args:
            inertia: s m_i u(i) [mass x cm], shape (..., N, 3).
            displacement: u [cm], shape (..., N, 3).

        Returns:
            Force [mass x cm / s^2], shape (..., N, 3).
        """
        return self._anchor * inertia + self._spring * apply_laplacian(self._laplacian, displacement)


def edge_stiffness(rig: FaceRig) -> Tensor:
    """k_ij = 1 / length of each mesh edge at rest [1/cm], shape (E,), float64: a sheet of one material.

    Raises:
        ValueError: an edge without length; its vertices are named.
    """
    ends = rig.neutral.double()[rig.edges]
    length = (ends[:, 0] - ends[:, 1]).norm(dim=-1)
    if bool((length == 0).any()):
        edge = rig.edges[int((length == 0).nonzero()[0])].tolist()
        raise ValueError(f"the edge of vertices {edge[0]} and {edge[1]} has no length; merge the two vertices")
    return 1 / length


def edge_laplacian(edges: Tensor, stiffness: Tensor, num_vertices: int) -> scipy.sparse.csr_matrix:
    """L with (L x)_i = sum_j k_ij (x_i - x_j): the pull of isotropic linear springs along one axis.

    Args:
        edges: (E, 2) int64, each edge once.
        stiffness: k [force / length], shape (E,).
        num_vertices: N.

    Returns:
        L, (N, N) float64, symmetric positive semi-definite; constants are its null space on a connected mesh.
    """
    first, second = edges.cpu().numpy().T
    k = stiffness.detach().cpu().numpy().astype("float64")
    upper = scipy.sparse.coo_matrix((k, (first, second)), shape=(num_vertices, num_vertices)).tocsr()
    return scipy.sparse.csr_matrix(scipy.sparse.csgraph.laplacian(upper + upper.T))


def apply_laplacian(laplacian: scipy.sparse.csr_matrix, field: Tensor) -> Tensor:
    """L applied to each axis of each field, shape (..., N, 3) to (..., N, 3), float64."""
    columns = field.double().cpu().movedim(-2, 0)
    product = torch.from_numpy(laplacian @ columns.flatten(1).numpy())
    return product.reshape(columns.shape).movedim(0, -2).to(field.device)


def projected_stiffness(blendshapes: Tensor, laplacian: scipy.sparse.csr_matrix) -> Tensor:
    """Kel = sum over edges of k_ij (B(i) - B(j))^T (B(i) - B(j)), as sum over axes of B_a^T L B_a.

    Args:
        blendshapes: B [cm], shape (K, N, 3).
        laplacian: L of :func:`edge_laplacian`.

    Returns:
        Kel, (K, K) float64, symmetric positive semi-definite; rigid translations are in its null space.
    """
    product = torch.einsum("kna,lna->kl", blendshapes.double(), apply_laplacian(laplacian, blendshapes))
    return (product + product.mT) / 2
