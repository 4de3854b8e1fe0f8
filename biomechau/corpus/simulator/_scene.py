"""Scenes of the pictures of simulated people: skin, hair, light, background, camera."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from biomechau.corpus.simulator._displays import Array
from biomechau.rig import FaceRig
from biomechau.rig.mesh_holes import mesh_holes
from biomechau.rig.names import canonical

# Light and dark ends, red, green, blue in [0, 1].
_SKIN = (0.96, 0.83, 0.75), (0.33, 0.21, 0.15)
_HAIR = (0.45, 0.33, 0.20), (0.07, 0.05, 0.05)
_BLINKS = frozenset({"eyeblink_l", "eyeblink_r"})
_LIPS, _WHITE, _IRIS = (0.60, 0.25, 0.24), (0.88, 0.87, 0.85), (0.16, 0.12, 0.10)
# From the middle of the mouth; from the middle of the moving upper lid of an eye [cm].
_LIP_TINT, _LIP_RADII = 0.6, (0.15, 0.85)  # share of the lips' colour; beyond the corners, above and below the middle
_BROW_START, _BROW_END, _BROW_HEIGHT, _BROW_ARCH, _BROW_RADIUS = -1.8, 1.5, 1.35, 0.3, 0.3  # x towards the temple
_EYE_MIDDLE, _EYE_RADII, _IRIS_RADIUS = (0.1, -0.4), (1.3, 0.6), 0.5


@dataclass(frozen=True, eq=False)
class Scene:
    """Appearance of one recording. Angles are those of the camera around the face.

    Attributes:
        skin, hair: (3,) colour of the person, red, green, blue in [0, 1].
        background: (3,) colour behind the person.
        light: (3,) direction from the face towards the light, of length 1.
        strength: share of this light; the rest comes from the camera.
        yaw, pitch, roll: of the camera [rad].
        shift: (2,) of the face in the picture, right and up, as a share of its width.
        zoom: size of the face in the picture; 1 on average.
    """

    skin: Array
    hair: Array
    background: Array
    light: Array
    strength: float
    yaw: float
    pitch: float
    roll: float
    shift: Array
    zoom: float

    @classmethod
    def draw(cls, person: np.random.Generator, recording: np.random.Generator) -> Scene:
        """A random scene: skin, hair and light belong to the person, the camera to the recording."""
        skin = _between(*_SKIN, person.uniform()) + person.normal(0, 0.015, 3)
        hair = _between(*_HAIR, person.uniform())
        background = np.full(3, person.uniform(0.25, 0.9)) + person.normal(0, 0.03, 3)
        azimuth, height = np.radians(person.uniform((-65, -5), (65, 50)))
        light = np.array((math.sin(azimuth) * math.cos(height), math.sin(height), math.cos(azimuth) * math.cos(height)))
        strength = person.uniform(0.5, 0.8)
        yaw, pitch, roll = np.radians(recording.normal(0, (5, 3, 2)))
        return cls(
            np.clip(skin, 0, 1),
            hair,
            np.clip(background, 0, 1),
            light,
            strength,
            yaw,
            pitch,
            roll,
            recording.normal(0, 0.012, 2),
            math.exp(recording.normal(0, 0.03)),
        )


@dataclass(frozen=True, eq=False)
class Markings:
    """Lips, brows and eyes of a face.

    Attributes:
        lips, brows, whites, irises: (N,) share of their colour at each vertex, 0 to 1.
    """

    lips: Array
    brows: Array
    whites: Array
    irises: Array

    @classmethod
    def of_rig(cls, rig: FaceRig) -> Markings:
        """Lips around the longest hole, brows above the eyelids, and eyes if the mesh has no holes for them."""
        positions = rig.neutral.double().numpy()
        lips, brows, whites, irises = np.zeros((4, len(positions)))
        holes = mesh_holes(positions, rig.faces.numpy())
        if holes:
            rim = positions[np.unique(holes[-1])]
            radii = 0.5 * np.ptp(rim[:, 0]) + _LIP_RADII[0], _LIP_RADII[1]
            lips = _soft(_radius(positions, 0.5 * (rim.min(0) + rim.max(0)), radii))
        for shape in (shape for shape, name in enumerate(rig.names) if canonical(name) in _BLINKS):
            moved = np.linalg.norm(rig.blendshapes[shape].double().numpy(), axis=1)
            lid = moved @ positions / moved.sum()
            side = 1.0 if lid[0] > 0 else -1.0
            x = np.linspace(_BROW_START, _BROW_END, 40)
            y = _BROW_HEIGHT + _BROW_ARCH * (1 - np.square(x / _BROW_START))
            distance = KDTree(np.stack([lid[0] + side * x, lid[1] + y], 1)).query(positions[:, :2])[0]
            brows = np.maximum(brows, _soft(distance / _BROW_RADIUS))
            if len(holes) < 3:
                middle = lid[:2] + np.array(_EYE_MIDDLE) * (side, 1.0)
                still = moved < 0.02 * moved.max()
                whites = np.maximum(whites, still * _soft(_radius(positions, middle, _EYE_RADII)))
                irises = np.maximum(irises, still * _soft(_radius(positions, middle, 2 * (_IRIS_RADIUS,))))
        return cls(lips, brows, whites, irises)

    def colours(self, scene: Scene) -> Array:
        """(N, 3) colour of each vertex, red, green, blue in [0, 1]."""
        colours = np.tile(scene.skin, (len(self.lips), 1))
        lips = np.array(_LIPS) * (0.4 + 0.6 * scene.skin.mean())
        parts = (_LIP_TINT * self.lips, lips), (0.85 * self.brows, scene.hair), (self.whites, _WHITE)
        for share, colour in (*parts, (self.irises, _IRIS)):
            colours += share[:, None] * (colour - colours)
        return colours


def _between(first: tuple[float, ...], last: tuple[float, ...], share: float) -> Array:
    return (1 - share) * np.array(first) + share * np.array(last)


def _radius(positions: Array, middle: Array, radii: tuple[float, ...]) -> Array:
    """(N,) relative distance from the middle of an ellipse in the plane of the face, 1 on the ellipse."""
    return np.hypot(*((positions[:, :2] - middle[:2]) / radii).T)


def _soft(radius: Array) -> Array:
    """1 well within radius 1, 0 well beyond it."""
    return 1 / (1 + np.power(radius, 8))
