"""The unit of length of recorded meshes."""

from __future__ import annotations

import math

from torch import Tensor

from biomechau.rig import FaceRig

# Faces differ in size by much less than this, common units (mm, cm, m) by much more.
_LARGEST_RATIO = 3


def check_scale(scale: float) -> None:
    """Raise ``ValueError`` unless ``scale`` is a positive, finite number."""
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive, got {scale}")


def check_size(rig: FaceRig, mesh: Tensor) -> None:
    """Raise ``ValueError`` if a mesh (N, 3) [cm] is over three times as large as the rig, or under a third of it.

    The size is the root mean square distance of the vertices from their mean: turning the head does not change it.
    """
    size, expected = (float((vertices - vertices.mean(0)).square().mean().sqrt()) for vertices in (mesh, rig.neutral))
    # A size that is no number passes: the fit names the vertex.
    if size * _LARGEST_RATIO < expected or size > expected * _LARGEST_RATIO:
        raise ValueError(
            f"the first mesh is {size / expected:.3g} times as large as the rig: is it in centimetres? "
            "(scale is its centimetres per unit)"
        )
