"""Summary of a rig, and of its use in the physical model."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from biomechau.physics import FaceDynamics
from biomechau.rig import Distribution, FaceRig, Muscles

# Number of pairs of muscles with the largest overlap to list.
NUM_OVERLAPS = 5


def describe_rig(rig: FaceRig, muscles: Muscles | None = None) -> dict[str, Any]:
    """Sizes, muscles, coverage and conditioning of a rig, as JSON values.

    Problems of the model with the rig are listed under ``"problems"``; a rig without shapes of any muscle has no
    coverage.

    Args:
        rig: the face.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
    """
    extent = rig.neutral.amax(0) - rig.neutral.amin(0)
    description: dict[str, Any] = {
        "vertices": rig.num_vertices,
        "faces": len(rig.faces),
        "shapes": list(rig.names),
        "identity_modes": len(rig.identity_names),
        "extent_cm": [round(value, 3) for value in extent.tolist()],
        "provenance": dict(rig.provenance),
    }
    match = (Muscles.facs() if muscles is None else muscles).match(rig.names)
    description["muscles"] = {
        "found": list(match.muscles.names),
        "missing": {name: list(shapes) for name, shapes in match.left_out.items()},
    }
    description |= {"coverage": None, "overlap": [], "mass_condition": None, "dropped_shapes": [], "problems": []}
    with warnings.catch_warnings():
        # The muscles left out are listed above.
        warnings.simplefilter("ignore", UserWarning)
        try:
            distribution = Distribution.from_rig(rig, muscles)
            coverage, overlap = distribution.coverage(), distribution.overlap()
            description["coverage"] = {
                "uncovered": coverage.uncovered,
                "muscles_per_vertex": coverage.muscles_per_vertex,
                "share": dict(zip(coverage.names, coverage.share.tolist(), strict=True)),
            }
            description["overlap"] = [
                {"muscles": [first, second], "cosine": cosine} for first, second, cosine in overlap.worst(NUM_OVERLAPS)
            ]
            dynamics = FaceDynamics(rig, distribution, dtype=torch.float64)
            description["mass_condition"] = float(torch.linalg.cond(dynamics.mass))
            description["dropped_shapes"] = list(dynamics.dropped_shapes)
        except ValueError as error:
            description["problems"].append(str(error))
    return description
