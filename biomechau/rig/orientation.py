"""Which way a rig looks: its own left, up and front, from where its shapes move it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor

from biomechau.rig.names import canonical

# Above and below the middle of the face, by what their canonical names begin with.
_UPPER, _LOWER = re.compile("brow|eye"), re.compile("mouth|jaw|lip|chin")
# Within this angle of an axis of the coordinates, an axis of the face is taken for it: heads are a little tilted.
_NEAREST = 0.95  # cosine
# Skin that no shape moves by this share of the largest displacement does not belong to the face.
_STILL = 0.02


def face_axes(neutral: Tensor, faces: Tensor, blendshapes: Tensor, names: Sequence[str]) -> Tensor:
    """The subject's left, up and front as rows of a rotation, so that ``positions @ axes.T`` look along +z with +y up.

    Left and up follow from the shapes' names and where they move the face: those of the left and right side, those of
    brows and eyes, and of the mouth; up is at right angles to the mean normal of the skin that moves. Without such
    names front is where the normals point, and up is y, or z where front is y. Axes near those of the coordinates are
    taken for them.

    Args:
        neutral: (N, 3).
        faces: (F, 3).
        blendshapes: (K, N, 3).
        names: K shape names.

    Returns:
        (3, 3) float64.
    """
    neutral = neutral.double()
    weights = blendshapes.double().norm(dim=-1)
    # Of the skin that moves: the whole of a head, open at the neck, points up.
    reach = weights.amax(0) if len(weights) else weights.new_zeros(len(neutral))
    normal = face_normal(neutral, faces, (reach > _STILL * reach.max()) if bool(reach.any()) else None)
    keys = [canonical(name) if bool(row.any()) else "" for name, row in zip(names, weights, strict=True)]
    centres = (weights @ neutral) / weights.sum(1, keepdim=True)

    def middle(chosen: list[int]) -> Tensor | None:
        return centres[chosen].mean(0) if chosen else None

    upper, lower = (middle([k for k, key in enumerate(keys) if word.match(key)]) for word in (_UPPER, _LOWER))
    index = {key: k for k, key in enumerate(keys)}
    pairs = [(k, index[f"{key[:-2]}_r"]) for key, k in index.items() if key[-2:] == "_l" and f"{key[:-2]}_r" in index]
    left = _unit(torch.stack([centres[one] - centres[other] for one, other in pairs]).mean(0)) if pairs else None
    up = None if upper is None or lower is None else _unit(upper - lower)
    if left is None or up is None:
        front = normal if normal is not None else neutral.new_tensor([0.0, 0.0, 1.0])
        if up is None:
            up = neutral.new_tensor([0.0, 1.0, 0.0] if abs(float(front[1])) < 0.7 else [0.0, 0.0, 1.0])
        left = torch.linalg.cross(_unit(up), front)
    elif normal is not None:
        # Surer than the line from mouth to brows, which leans back.
        upright = _unit(torch.linalg.cross(normal, left))
        up = -upright if float(upright @ up) < 0 else upright
    up, left = _nearest_axis(up), _nearest_axis(_unit(left))
    left = left - (left @ up) * up
    if not float(left.norm()) > 1e-6:  # left is up: names that say nothing
        return torch.eye(3, dtype=torch.float64)
    left = _unit(left)
    return torch.stack([left, up, torch.linalg.cross(left, up)])


def face_normal(neutral: Tensor, faces: Tensor, weights: Tensor | None = None) -> Tensor | None:
    """Where the faces (F, 3) point on average, of length 1; None for a closed surface, or one without area.

    ``weights`` (N,) says how much the faces at each vertex count; alike if not given.
    """
    a, b, c = (neutral.double()[faces[:, corner]] for corner in range(3))
    areas = torch.linalg.cross(b - a, c - a)
    if weights is not None:
        areas = areas * weights.double()[faces].sum(1, keepdim=True)
    total = areas.sum(0)
    return _unit(total) if float(total.norm()) > 0.05 * float(areas.norm(dim=1).sum()) else None


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp_min(1e-30)


def _nearest_axis(direction: Tensor) -> Tensor:
    """The axis of the coordinates that is near a direction (3,) of length 1, or else the direction."""
    axis = int(direction.abs().argmax())
    if abs(float(direction[axis])) < _NEAREST:
        return direction
    nearest = torch.zeros_like(direction)
    nearest[axis] = direction[axis].sign()
    return nearest
