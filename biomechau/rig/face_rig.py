"""FaceRig: a neutral mesh and its blendshapes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class FaceRig:
    """A face that deforms by u = sum_k c_k B_k (Eq. 3).

    Attributes:
        neutral: (N, 3) float32, vertex positions at rest [cm].
        faces: (F, 3) int64, triangles, counter-clockwise seen from outside.
        blendshapes: (K, N, 3) float32, displacement of each vertex at full activation of each shape [cm].
        names: K shape names, unique.
        identity: (I, N, 3) float32, displacement of the neutral by each identity mode [cm]; I may be 0.
        identity_names: I names.
        provenance: where the rig came from, free text by key ("source", "region", "licence", ...).
    """

    neutral: Tensor
    faces: Tensor
    blendshapes: Tensor
    names: tuple[str, ...]
    identity: Tensor = field(default_factory=lambda: torch.empty(0))
    identity_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_vertices(self) -> int:
        """N."""
        return self.neutral.shape[0]

    @property
    def num_shapes(self) -> int:
        """K."""
        return self.blendshapes.shape[0]

    @cached_property
    def edges(self) -> Tensor:
        """(E, 2) int64, each undirected mesh edge once, smaller index first."""
        raise NotImplementedError

    @cached_property
    def vertex_masses(self) -> Tensor:
        """(N,) barycentric vertex areas scaled to sum to 1; 0 where no triangle meets a vertex."""
        raise NotImplementedError

    def select(self, names: Sequence[str]) -> FaceRig:
        """The same face with only these shapes, in this order."""
        raise NotImplementedError
