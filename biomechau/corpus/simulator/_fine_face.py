"""The rig at full resolution: the meshes that a simulated capture records in addition to coefficients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from scipy.spatial import KDTree
from torch import Tensor

from biomechau.corpus.simulator._coarse_face import CoarseFace, product
from biomechau.corpus.simulator._displays import Array
from biomechau.corpus.simulator._person import Person
from biomechau.rig import FaceRig

_RESIDUAL_IDENTITY = 0.2  # share of a person's identity that the neutral face of the capture misses
_SHORTEST_EDGE = 1e-3  # weights do not grow below this length, relative to the mean length of the edges


@dataclass(frozen=True, eq=False)
class FineFace:
    """All vertices of a rig, with the fields of its coarse face interpolated to them.

    Attributes:
        positions: (N, 3) neutral [cm].
        shapes: (K, N, 3) blendshapes [cm].
        identity: (I, N, 3) identity modes [cm]; I may be 0.
        smooth_modes: (N, J) those of the coarse face.
    """

    positions: Array
    shapes: Array
    identity: Array
    smooth_modes: Array

    @classmethod
    def from_rig(cls, rig: FaceRig, coarse: CoarseFace) -> FineFace:
        """The fine face of a rig and its coarse face."""
        return cls(
            positions=rig.neutral.double().numpy(),
            shapes=rig.blendshapes.double().numpy(),
            identity=rig.identity.double().numpy(),
            smooth_modes=carry(rig, coarse.samples, coarse.smooth_modes),
        )

    def residual(self, person: Person, coefficients: Array) -> Tensor:
        """A person's meshes minus sum_k c_k B_k: the individual part of the tracker's shapes, and of the identity.

        sum_k c_k (B_est_k - B_k) + 0.2 identity

        Args:
            person: whose meshes.
            coefficients: c (T, K), as tracked.

        Returns:
            (T, N, 3) float16 [cm].
        """
        personal = (person.tracked_shapes(self) - self.shapes).reshape(len(self.shapes), -1)
        meshes = product(coefficients, personal).reshape(len(coefficients), -1, 3)
        return torch.from_numpy(meshes + _RESIDUAL_IDENTITY * person.identity(self)).half()

    def meshes(self, person: Person, coefficients: Array) -> Array:
        """A person's true face (T, N, 3) [cm]: neutral + identity + sum_k c_k B_own_k.

        Args:
            person: whose face.
            coefficients: c (T, K), of the person's own shapes.
        """
        own = person.shapes(self).reshape(len(self.shapes), -1)
        moved = product(coefficients, own).reshape(len(coefficients), -1, 3)
        return self.positions + person.identity(self) + moved


def carry(rig: FaceRig, samples: np.ndarray, values: Array) -> Array:
    """Interpolate values (n, J) of a few vertices smoothly to all vertices (N, J).

    The sum over the vertices of (value - mean of the neighbours, weighted by 1 / length)^2 is minimal, so there are no
    steps or kinks at the samples. Parts of the mesh without a sample get the value of the nearest one.
    """
    positions, (i, j), count = rig.neutral.double().numpy(), rig.edges.numpy().T, rig.num_vertices
    length = np.linalg.norm(positions[i] - positions[j], axis=1)
    weight = 1 / np.maximum(length, _SHORTEST_EDGE * length.mean())
    graph = sparse.coo_array((np.tile(weight, 2), (np.concatenate([i, j]), np.concatenate([j, i]))), 2 * (count,))
    _, parts = connected_components(graph, directed=False)
    carried = values[KDTree(positions[samples]).query(positions)[1]]
    carried[samples] = values
    free = np.isin(parts, parts[samples])
    free[samples] = False
    degree = np.maximum(graph.sum(axis=1), np.finfo(np.float64).tiny)
    bending = sparse.csr_array(sparse.eye_array(count) - sparse.diags_array(1 / degree) @ graph.tocsr())
    bending = sparse.csr_array(bending.T @ bending)[free]
    if free.any():
        carried[free] = splu(bending[:, free].tocsc()).solve(-(bending[:, samples] @ values))
    return carried
