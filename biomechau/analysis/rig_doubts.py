"""What is odd about a rig, before anybody trusts its forces."""

from __future__ import annotations

import torch

from biomechau.rig import FaceRig
from biomechau.rig.names import shortened
from biomechau.rig.orientation import face_normal

# Of a face or a head, from chin or neck to brow or crown [cm].
_SHORTEST, _TALLEST, _USUAL = 10.0, 45.0, 20.0
_UNITS = {"metres": 100.0, "decimetres": 10.0, "inches": 2.54, "millimetres": 0.1, "micrometres": 1e-4}
# Two shapes are one where they differ by less than this share of their size.
_SAME = 0.01
# Of the face's height: no muscle moves a point this far, but another order of the vertices does.
_FARTHEST = 0.5


def rig_doubts(rig: FaceRig) -> list[str]:
    """Doubts about the unit of length, points without faces, shapes that are there twice or move too far, and sides
    that are swapped, in words."""
    height = face_height(rig)
    doubts = [_unit_doubt(height), _loose_points(rig), *_duplicates(rig)]
    reach = rig.blendshapes.norm(dim=-1).amax(1) if rig.num_shapes else torch.zeros(0)
    far = [name for name, most in zip(rig.names, reach.tolist(), strict=True) if most > _FARTHEST * height]
    if far:
        doubts.append(
            f"shapes that move a point by more than half of the face: {shortened(far, 8)}; do their files have the "
            "vertices of the neutral in the same order, and in the same place?"
        )
    return [*filter(None, doubts), *_sides(rig)]


def face_height(rig: FaceRig) -> float:
    """From the lowest to the highest point, as the face stands [cm]."""
    up = rig.neutral.double().cpu() @ rig.axes[1]
    return float(up.max() - up.min())


def _unit_doubt(height: float) -> str:
    if _SHORTEST <= height <= _TALLEST:
        return ""
    fits = {unit: scale for unit, scale in _UNITS.items() if 0.6 * _USUAL <= scale * height <= 2 * _USUAL}
    unit, scale = next(iter(fits.items()), ("", _USUAL / height if height else 1.0))
    question = f"is it in {unit} (--scale {scale:g})" if unit else "which --scale brings it to centimetres"
    return f"the rig is {height:.4g} cm tall, where a human face is 15 to 25 cm and a head up to 40 cm: {question}?"


def _loose_points(rig: FaceRig) -> str:
    used = torch.zeros(rig.num_vertices, dtype=torch.bool)
    used[rig.faces.cpu().flatten()] = True
    loose = int((~used).sum())
    return f"{loose:,} of {rig.num_vertices:,} points are in no face, and have no mass" if loose else ""


def _sides(rig: FaceRig) -> list[str]:
    """Whether left and right fit the way the faces point: a mask bulges to where its faces point."""
    neutral = rig.neutral.double().cpu()
    normal = face_normal(neutral, rig.faces.cpu())
    if normal is None:
        return []
    a, b, c = (neutral[rig.faces.cpu()[:, corner]] for corner in range(3))
    areas = torch.linalg.cross(b - a, c - a)
    bulges = float((areas * ((a + b + c) / 3 - neutral.mean(0))).sum()) > 0
    forward = float(normal @ rig.axes[2]) > 0
    if bulges and forward:
        return []
    if bulges:
        return ["the shapes of the left are on the right of the face: left and right are the subject's, as in ARKit"]
    return ["the rig is mirrored: its front is hollow" if forward else "the faces of the rig are inside out"]


def _duplicates(rig: FaceRig) -> list[str]:
    """Groups of shapes that are one and the same."""
    flat = rig.blendshapes.double().flatten(1)
    gram = flat @ flat.T
    size = gram.diagonal()
    apart = (size[:, None] + size - 2 * gram).clamp(min=0)
    same = apart <= _SAME**2 * torch.minimum(size[:, None], size)
    seen: set[int] = set()
    groups = []
    for row, others in enumerate(same):
        group = [k for k in others.nonzero()[:, 0].tolist() if k not in seen]
        if row not in seen and len(group) > 1 and bool(size[row] > 0):
            seen.update(group)
            groups.append([rig.names[k] for k in group])
    return [
        f"shapes that are the same: {shortened(group, 8)}; their coefficients cannot be told apart" for group in groups
    ]
