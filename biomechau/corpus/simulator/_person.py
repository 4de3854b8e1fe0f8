"""The individual shapes and identity of a simulated person, on meshes of any resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from biomechau.corpus.simulator._coarse_face import CoarseFace, product
from biomechau.corpus.simulator._displays import Array

_IDENTITY_SPREAD = 0.9  # of the rig's identity modes, where N(0, 1) makes plausible faces
_IDENTITY_FIELD = 0.02  # rms of a random identity without modes, as a share of the face's rms radius
_FIELD_SPREAD, _FIELD_BOUNDS, _SHAPE_SPREAD = 0.18, (0.5, 1.6), 0.15  # of a person's shapes, for hardness 1
_KNOWN_SHARE = 0.7  # of the individual part of the shapes, known to the tracker


class Face(Protocol):
    """A mesh of the rig with N vertices: its shapes (K, N, 3), identity modes (I, N, 3) and smooth modes (N, J)."""

    @property
    def shapes(self) -> Array: ...
    @property
    def identity(self) -> Array: ...
    @property
    def smooth_modes(self) -> Array: ...


@dataclass(frozen=True, eq=False)
class Person:
    """The random numbers that define one face.

    Attributes:
        strength: (K,) factor of each shape.
        field_weights: (J,) of the smooth modes, for a field over the vertices that scales all shapes.
        identity_weights: (I,) of the rig's identity modes; (3, J) of the smooth modes if it has none [cm].
    """

    strength: Array
    field_weights: Array
    identity_weights: Array

    @classmethod
    def draw(cls, face: CoarseFace, hardness: float, rng: np.random.Generator) -> Person:
        """A random person; people differ more for a higher hardness."""
        field_weights = _FIELD_SPREAD * hardness * face.smooth_weights(rng)
        strength = np.exp(_SHAPE_SPREAD * hardness * rng.standard_normal(len(face.shapes)))
        if len(face.identity):
            return cls(strength, field_weights, _IDENTITY_SPREAD * rng.standard_normal(len(face.identity)))
        radius = np.sqrt(np.square(face.positions - face.positions.mean(0)).sum(1).mean())
        size = _IDENTITY_FIELD * radius / math.sqrt(3)
        return cls(strength, field_weights, size * face.smooth_weights(rng, 3))

    def shapes(self, face: Face) -> Array:
        """(K, N, 3) the person's own blendshapes [cm]."""
        return face.shapes * self._scale(face)

    def tracked_shapes(self, face: Face) -> Array:
        """(K, N, 3) the shapes as the tracker knows them, with 70 % of the individual part [cm]."""
        return face.shapes * self._scale(face) ** _KNOWN_SHARE

    def identity(self, face: Face) -> Array:
        """(N, 3) the person's neutral minus that of the rig [cm]."""
        if len(face.identity):
            modes = face.identity.reshape(len(face.identity), -1)
            return product(self.identity_weights[None], modes).reshape(-1, 3)
        return product(self.identity_weights, face.smooth_modes.T).T

    def _scale(self, face: Face) -> Array:
        field = np.clip(1 + product(self.field_weights, face.smooth_modes.T), *_FIELD_BOUNDS)
        return self.strength[:, None, None] * field[:, None]
