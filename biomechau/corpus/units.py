"""The unit of length of recorded meshes."""

from __future__ import annotations

import math

from torch import Tensor

from biomechau.rig import FaceRig

# Faces differ in size by much less than this factor, common units (mm, cm, m) by much more.
_LARGEST_RATIO = 3


def check_scale(scale: float) -> None:
    """Raise ``ValueError`` unless ``scale`` is a positive, finite number."""
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive, got {scale}")


def check_size(rig: FaceRig, mesh: Tensor) -> None:
    """Raise ``ValueError`` if a mesh (N, 3) [cm] is more than three times larger or smaller than the rig.

    The size is the root mean square distance of the vertices from their mean, which does not depend on the head pose.
    """
    size, expected = (float((vertices - vertices.mean(0)).square().mean().sqrt()) for vertices in (mesh, rig.neutral))
    # A size of NaN passes: the fit names the vertex.
    if size * _LARGEST_RATIO < expected or size > expected * _LARGEST_RATIO:
        raise ValueError(
            f"the first mesh is {size / expected:.3g} times as large as the rig: is it in centimetres? "
            "(scale: centimetres per unit of the meshes)"
        )
