"""RigParts: the fields of a rig, as importers and files return them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor


class RigParts(NamedTuple):
    """The fields of :class:`biomechau.FaceRig`, not yet checked: ``FaceRig(*parts)`` makes the rig."""

    neutral: Tensor
    faces: Tensor
    blendshapes: Tensor
    names: tuple[str, ...]
    identity: Tensor
    identity_names: tuple[str, ...]
    provenance: Mapping[str, str]
