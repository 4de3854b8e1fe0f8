"""FaceScene: a coarse face that a browser can deform and colour by force."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from biomechau.analysis.face_forces import FaceModel
from biomechau.models.pooling import coarsen
from biomechau.rig.mesh_holes import mesh_holes

# A face of this size looks like the rig at the size of a page, and takes a few milliseconds per frame.
NUM_VERTICES = 2500


@dataclass(frozen=True, eq=False)
class FaceScene:
    """A face of N' vertices with all maps that are linear in coefficients or forces, so that frames need no storage.

    Attributes:
        neutral: (N', 3) [cm], turned to the face's own left, up and front.
        faces: (F', 3) int64.
        backing: (E, 3) int64, triangles behind the eyes and the mouth, with extra vertices at the end.
        blendshapes: (K', N', 3) [cm].
        fields: (M, N', 3) or (M, N'), see :meth:`biomechau.analysis.FaceForces.muscle_fields`.
    """

    neutral: Tensor
    faces: Tensor
    backing: Tensor
    blendshapes: Tensor
    fields: Tensor

    @classmethod
    def of(cls, face: FaceModel, num_vertices: int = NUM_VERTICES) -> FaceScene:
        """The face, down-sampled to a subset of its vertices if it has more than ``num_vertices``."""
        faces = face.rig.faces.cpu().numpy()
        # The page looks along -z with +y up.
        turn = face.rig.axes.T.float()
        positions = (face.rig.neutral @ turn).double().cpu().numpy()
        kept = np.arange(len(positions))
        if len(positions) > num_vertices:
            kept, faces = coarsen(positions, faces, num_vertices)
        chosen = torch.from_numpy(kept)
        moved = torch.cat([face.rig.neutral[None], face.dynamics.blendshapes])[:, chosen].float() @ turn
        field = face.muscle_fields()[:, chosen].float()
        field = field @ turn if field.ndim == 3 else field
        rims = [np.asarray(edges) for edges in mesh_holes(positions[kept], faces)]
        backing = [torch.empty(0, 3, dtype=torch.int64)]
        for edges in rims:
            vertices, corners = np.unique(edges, return_inverse=True)
            first, rim = moved.shape[1], torch.from_numpy(vertices)
            # A fan to a point behind the middle of the hole; the middle of the rim is linear in its vertices.
            apex = moved[:, rim].mean(1, keepdim=True)
            apex[0, 0, 2] -= 0.25 * float(np.ptp(positions[kept][vertices, 0]))
            moved = torch.cat([moved, moved[:, rim], apex], 1)
            fan = torch.from_numpy(corners.reshape(-1, 2)) + first
            backing.append(torch.cat([fan, torch.full((len(fan), 1), moved.shape[1] - 1)], 1))
        unforced = field.new_zeros(len(field), moved.shape[1] - field.shape[1], *field.shape[2:])
        return cls(
            moved[0], torch.from_numpy(faces).long(), torch.cat(backing), moved[1:], torch.cat([field, unforced], 1)
        )

    def vertex_force(self, forces: Tensor) -> Tensor:
        """Magnitude of the force on each vertex, (T, N'), of muscle forces (T, M) or (T, M, 3), float32."""
        if forces.ndim == 2:
            return torch.tensordot(forces, self.fields, 1).norm(dim=-1)
        return torch.einsum("tma,mn->tna", forces, self.fields).norm(dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """The attributes by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}
