"""Holes in a mesh, such as the eyes and the mouth of a face, and surfaces that close them in pictures."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


def mesh_holes(vertices: Floats, faces: Integers) -> list[Integers]:
    """Boundary edges (E, 2) of each hole in a connected surface; the longest boundary [cm] is its outline, not a hole.

    A mesh of several components (with eyeballs or teeth) shows what lies behind its holes: none are returned.
    """
    edges = np.sort(faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)

    def pieces(pairs: Integers) -> Integers:
        graph = coo_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=2 * (len(vertices),))
        return connected_components(graph, directed=False)[1]

    if len(np.unique(pieces(edges)[edges[:, 0]])) > 1:
        return []
    boundary = edges[uses == 1]
    piece = pieces(boundary)[boundary[:, 0]]
    loops = [boundary[piece == label] for label in np.unique(piece)]
    return sorted(loops, key=lambda loop: np.linalg.norm(vertices[loop[:, 0]] - vertices[loop[:, 1]], axis=1).sum())[
        :-1
    ]


def backing(vertices: Floats, edges: Integers) -> tuple[npt.NDArray[np.float64], Integers]:
    """A fan of triangles from the edges (E, 2) of a hole to a point a little behind its middle.

    Returns:
        Its vertices (P + 1, 3) [cm], the rim followed by the point, and its triangles (E, 3).
    """
    rim, corners = np.unique(edges, return_inverse=True)
    points = vertices[rim].astype(np.float64)
    apex = points.mean(0) - np.array((0.0, 0.0, 0.25 * np.ptp(points[:, 0])))
    triangles = np.column_stack((corners.reshape(-1, 2), np.full(len(edges), len(rim))))
    return np.vstack((points, apex)), triangles
