"""Which vertex of a rig lies on the other side of each."""

from __future__ import annotations

import torch
from torch import Tensor

from biomechau.rig.face_rig import FaceRig

# Largest distance of a vertex from the mirror image of its counterpart, as a share of the face's rms radius.
_TOLERANCE = 0.02


def mirror_vertices(rig: FaceRig) -> Tensor:
    """The vertex on the other side of each vertex, (N,) int64; on the midline the vertex itself.

    The mirror is the plane at right angles to the face's own left, half-way between its outermost vertices.

    Raises:
        ValueError: the mesh is not mirror symmetric; the message names a vertex without a counterpart.
    """
    from scipy.spatial import KDTree

    positions = rig.neutral.detach().cpu().double()
    reflection = mirror_reflection(rig)
    across = positions @ rig.axes[0]
    offset = (across.max() + across.min()) * rig.axes[0]  # of twice the distance of the plane from the origin
    radius = (positions - positions.mean(0)).square().sum(1).mean().sqrt()
    distance, nearest = KDTree(positions.numpy()).query((positions @ reflection + offset).numpy())
    other = torch.from_numpy(nearest.astype("int64"))
    alone = (torch.from_numpy(distance) > _TOLERANCE * radius) | (other[other] != torch.arange(len(other)))
    if bool(alone.any()):
        vertex = int(alone.nonzero()[0])
        raise ValueError(
            f"the rig is not mirror symmetric: vertex {vertex} has no counterpart on the other side of the face, but a "
            "detector of both sides reads each mesh and its mirror image; switch its sides off (--no-sides)"
        )
    return other


def mirror_reflection(rig: FaceRig) -> Tensor:
    """The symmetric matrix (3, 3) float64 that mirrors displacements across the plane of :func:`mirror_vertices`."""
    left = rig.axes[0]
    return torch.eye(3, dtype=torch.float64) - 2 * torch.outer(left, left)
