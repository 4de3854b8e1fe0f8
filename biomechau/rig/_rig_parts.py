"""RigParts: the fields of a rig, as importers and files return them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from biomechau.rig.file_names import plain_shape_names


class RigParts(NamedTuple):
    """The fields of :class:`biomechau.FaceRig`, not yet checked: ``FaceRig(*parts)`` makes the rig."""

    neutral: Tensor
    faces: Tensor
    blendshapes: Tensor
    names: tuple[str, ...]
    identity: Tensor
    identity_names: tuple[str, ...]
    provenance: Mapping[str, str]


def imported_parts(
    neutral: Tensor,
    faces: Tensor,
    blendshapes: Sequence[Tensor],
    given_names: Sequence[str],
    provenance: Mapping[str, str],
) -> RigParts:
    """The parts of a rig that a program has written, without the shapes that move nothing; one must move.

    Names lose what the program has put before or behind all of them. ``provenance`` gets what was dropped and renamed.
    """
    moves = [bool(shape.any()) for shape in blendshapes]
    names = plain_shape_names(tuple(given_names))
    renamed = [f"{name} for {given}" for name, given in zip(names, given_names, strict=True) if name != given]
    return RigParts(
        neutral=neutral,
        faces=faces,
        blendshapes=torch.stack([shape for shape, kept in zip(blendshapes, moves, strict=True) if kept]),
        names=tuple(name for name, kept in zip(names, moves, strict=True) if kept),
        identity=torch.empty(0),
        identity_names=(),
        provenance={
            **provenance,
            "dropped_shapes": ", ".join(name for name, kept in zip(names, moves, strict=True) if not kept),
            **({"renamed": ", ".join(renamed)} if renamed else {}),
        },
    )
