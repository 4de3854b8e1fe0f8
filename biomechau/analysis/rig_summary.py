"""Summary of a rig, and of its use in the physical model."""

from __future__ import annotations

import warnings
from typing import Any

import torch

from biomechau.analysis.rig_doubts import rig_doubts
from biomechau.physics import FaceDynamics
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.rig.names import ARKIT_SHAPES, canonical

# Number of pairs of muscles with the largest overlap to list.
NUM_OVERLAPS = 5


def describe_rig(rig: FaceRig, muscles: Muscles | None = None) -> dict[str, Any]:
    """Sizes, muscles, coverage and conditioning of a rig, as JSON values.

    Problems of the model with the rig are listed under ``"problems"``, what looks wrong under ``"doubts"``
    (:func:`biomechau.analysis.rig_doubts.rig_doubts`); a rig without shapes of any muscle has no coverage.

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
    description["muscles"] = describe_muscles(rig, muscles)
    description["doubts"] = rig_doubts(rig)
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


def describe_muscles(rig: FaceRig, muscles: Muscles | None = None) -> dict[str, Any]:
    """The muscles ``found`` in a rig, how many it would have ``of`` with all of ARKit's shapes, those ``missing`` with
    the shapes that they lack, and the names of all shapes that are ``needed`` for them.

    Args:
        rig: the face.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
    """
    table = Muscles.facs() if muscles is None else muscles
    match = table.match(rig.names)
    own = {canonical(name) for name in rig.names}
    whole = table.match((*rig.names, *(name for name in ARKIT_SHAPES if canonical(name) not in own)))
    return {
        "found": list(match.muscles.names),
        "of": len(whole.muscles),
        "missing": {name: list(shapes) for name, shapes in match.left_out.items()},
        "needed": list(dict.fromkeys(shape for shapes in match.left_out.values() for shape in shapes)),
    }
