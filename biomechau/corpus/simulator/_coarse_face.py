"""A rig on a coarse mesh: the sheet that the simulator moves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from scipy import sparse
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import KDTree

from biomechau.corpus.simulator._displays import Array
from biomechau.rig import FaceRig

Index = npt.NDArray[np.int64]

NUM_SMOOTH_MODES = 24
_SHORTEST_EDGE = 0.2  # springs do not get stiffer below this length [cm]


@dataclass(frozen=True, eq=False)
class CoarseFace:
    """A rig on a few of its vertices: farthest-point samples, their geodesic Voronoi cells, and the graph of the cells.

    Attributes:
        samples: (N,) indices of its vertices among those of the rig.
        positions: (N, 3) neutral [cm].
        areas: (N,) share of the surface in the cell of each vertex, sum 1.
        edges: (E, 2) neighbouring cells.
        shapes: (K, N, 3) blendshapes [cm].
        identity: (I, N, 3) identity modes [cm]; I may be 0.
        smooth_modes: (N, J) lowest non-constant eigenvectors of the graph's Laplacian, each of rms 1.
    """

    samples: Index
    positions: Array
    areas: Array
    edges: Index
    shapes: Array
    identity: Array
    smooth_modes: Array

    @classmethod
    def from_rig(cls, rig: FaceRig, num_vertices: int) -> CoarseFace:
        """Sample a rig; rigs with fewer vertices keep all vertices that belong to a triangle."""
        positions, masses = rig.neutral.double().numpy(), rig.vertex_masses.double().numpy()
        samples = farthest_points(positions, np.flatnonzero(masses > 0), num_vertices)
        cells = _voronoi_cells(positions, rig.edges.numpy(), samples)
        pairs = np.sort(cells[rig.edges.numpy()], axis=1)
        edges = np.unique(pairs[pairs[:, 0] != pairs[:, 1]], axis=0)
        coarse = positions[samples]
        face = cls(
            samples=samples,
            positions=coarse,
            areas=np.bincount(cells, masses, len(samples)).astype(np.float64),
            edges=edges,
            shapes=rig.blendshapes[:, samples].double().numpy(),
            identity=rig.identity[:, samples].double().numpy(),
            smooth_modes=np.empty((len(samples), 0)),
        )
        return replace(face, smooth_modes=_smooth_modes(face.edge_laplacian(face.edge_lengths(coarse))))

    def smooth_weights(self, rng: np.random.Generator, *size: int) -> Array:
        """Random weights (*size, J) of the smooth modes; their field has rms 1 on average."""
        return rng.standard_normal((*size, self.smooth_modes.shape[1])) / math.sqrt(self.smooth_modes.shape[1])

    def smooth_field(self, rng: np.random.Generator, *size: int) -> Array:
        """Random smooth fields (*size, N), of rms 1 on average."""
        return product(self.smooth_weights(rng, *size), self.smooth_modes.T)

    def edge_lengths(self, positions: Array) -> Array:
        """(E,) distance between neighbours at these positions (N, 3) [cm]."""
        return np.linalg.norm(positions[self.edges[:, 0]] - positions[self.edges[:, 1]], axis=1)

    def edge_laplacian(self, lengths: Array) -> sparse.csr_array:
        """(N, N) stiffness of springs along the edges, 1 / length each: sum of k_ij (u_i - u_j)^2 is u^T L u."""
        weights, count = 1 / np.maximum(lengths, _SHORTEST_EDGE), len(self.positions)
        i, j = self.edges.T
        values = np.concatenate([-weights, -weights, weights, weights])
        indices = (np.concatenate([i, j, i, j]), np.concatenate([j, i, i, j]))
        return sparse.csr_array(sparse.coo_array((values, indices), shape=(count, count)))


def farthest_points(positions: Array, candidates: Index, count: int) -> Index:
    """Up to ``count`` of the candidates, each the farthest from those chosen before, in increasing order."""
    points = positions[candidates]
    chosen = [int(np.square(points - points.mean(0)).sum(1).argmin())]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.square(points - points[chosen[-1]]).sum(1))
        distance[chosen[-1]] = -1  # never chosen again, even if others have the same position
        chosen.append(int(distance.argmax()))
    return np.sort(candidates[chosen])


def _voronoi_cells(positions: Array, edges: Index, samples: Index) -> Index:
    """Position in ``samples`` of the nearest sample of each vertex along the mesh, or in space if none is connected."""
    lengths = np.linalg.norm(positions[edges[:, 0]] - positions[edges[:, 1]], axis=1)
    # An entry of 0 would be no edge.
    graph = sparse.coo_array((np.maximum(lengths, 1e-12), (edges[:, 0], edges[:, 1])), shape=2 * (len(positions),))
    _, _, source = dijkstra(graph.tocsr(), directed=False, indices=samples, min_only=True, return_predecessors=True)
    nearest = KDTree(positions[samples]).query(positions)[1]
    return np.where(source >= 0, np.searchsorted(samples, np.maximum(source, 0)), nearest)


def _smooth_modes(laplacian: sparse.csr_array) -> Array:
    """(N, J) lowest eigenvectors that are not constant on connected parts, of rms 1, largest entry positive."""
    _, vectors = torch.linalg.eigh(torch.from_numpy(laplacian.toarray()))
    constant, _ = connected_components(laplacian, directed=False)
    modes = vectors[:, constant : constant + NUM_SMOOTH_MODES].numpy() * math.sqrt(len(vectors))
    return modes * np.sign(modes[np.abs(modes).argmax(0), np.arange(modes.shape[1])])


def product(a: Array, b: Array) -> Array:
    """a @ b by torch, which the simulator limits to one thread, so that the result has the same bits everywhere."""
    return (torch.from_numpy(np.ascontiguousarray(a)) @ torch.from_numpy(np.ascontiguousarray(b))).numpy()
