"""The built-in face: a procedural rig that needs no download."""

from __future__ import annotations

import numpy as np
import torch

from biomechau.rig._builtin_mesh import face_mesh
from biomechau.rig._builtin_shapes import face_blendshapes
from biomechau.rig._builtin_surface import face_surface
from biomechau.rig._rig_parts import RigParts

MIN_VERTICES, MAX_VERTICES = 1_000, 50_000


def builtin_face(num_vertices: int = 5000) -> RigParts:
    """A procedural human face mask with ARKit-style blendshapes; every call returns the same bytes.

    Hairline to chin, ear to ear, exactly mirror-symmetric; finer triangles at eyes, mouth and nose; one connected
    piece with two open borders, the outline and the lips. x points to the subject's left, y up, z out of the face.

    Args:
        num_vertices: the exact number of vertices N, 1,000 to 50,000.

    Returns:
        A rig with N vertices and 45 shapes [cm]; shapes of one side end in ``_L`` or ``_R``.

    Raises:
        TypeError: ``num_vertices`` is not an integer.
        ValueError: ``num_vertices`` is out of range.
    """
    if isinstance(num_vertices, bool) or not isinstance(num_vertices, (int, np.integer)):
        raise TypeError(f"num_vertices must be an integer, got {type(num_vertices).__name__}")
    if not MIN_VERTICES <= num_vertices <= MAX_VERTICES:
        raise ValueError(f"num_vertices must lie in [{MIN_VERTICES}, {MAX_VERTICES}], got {num_vertices}")
    mesh = face_mesh(int(num_vertices))
    neutral = face_surface(*mesh.uv.T)
    shapes = face_blendshapes(mesh, neutral)
    return RigParts(
        neutral=torch.from_numpy(neutral.astype(np.float32)),
        faces=torch.from_numpy(mesh.faces),
        blendshapes=torch.from_numpy(np.stack(list(shapes.values())).astype(np.float32)),
        names=tuple(shapes),
        identity=torch.empty(0),
        identity_names=(),
        provenance={
            "source": "biomechau built-in procedural face",
            "region": "face",
            "num_vertices": str(num_vertices),
            "licence": "MIT",
        },
    )
