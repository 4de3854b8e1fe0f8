"""The simulated tracker: from noisy meshes to blendshape coefficients, with the errors of real trackers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.signal import lfilter

from biomechau.corpus.simulator._coarse_face import CoarseFace, product
from biomechau.corpus.simulator._displays import Array
from biomechau.corpus.simulator._tissue import Tissue
from biomechau.corpus.simulator._tracker_make import AS_SEEN, TrackerMake
from biomechau.rig import FaceRig
from biomechau.rig.bounded_least_squares import solve_bounded
from biomechau.rig.names import ARKIT_SHAPES, canonical

BOUNDS = (-0.05, 1.2)
_RIDGE = 1e-3  # weight of |c|^2, relative to the mean diagonal of the normal equations
_SMOOTH_MESH_NOISE, _WHITE_MESH_NOISE = 0.02, 0.02  # the first for hardness 1 [cm]
# In coefficients, for hardness 1:
_CROSSTALK, _NEUTRAL_ERROR, _SLOW_NOISE, _WHITE_NOISE = 0.06, 0.05, 0.02, 0.01
_LARGEST_CROSSTALK = 0.3
# A tracker learned from poses and faces leans towards what goes together: its cross-talk is above 0, and larger.
_LEANING = 2.0
_OVERLAP = 0.3  # shapes with this overlap (cosine of their displacement lengths) have cross-talk

_FACIAL = {canonical(name) for name in ARKIT_SHAPES if not name.startswith("eyeLook")}


def tracked_names(rig: FaceRig) -> list[str]:
    """The rig's shapes that the tracker follows: ARKit's shapes, split or not, except for gaze, if they move."""
    moving = rig.blendshapes.abs().amax((1, 2)) > 0
    facial = torch.tensor([bool(_spellings(name) & _FACIAL) for name in rig.names], dtype=torch.bool)
    return [rig.names[shape] for shape in (moving & facial).nonzero()[:, 0].tolist()]


def _spellings(name: str) -> set[str]:
    key = canonical(name)
    return {key, key.removesuffix("_l").removesuffix("_r"), f"{key}_l"}


@dataclass(frozen=True, eq=False)
class Tracker:
    """A tracker calibrated to one person.

    Attributes:
        basis: (K, N, 3) the shapes that it assumes [cm].
        masses: (N,) weight of each vertex.
        crosstalk: (K, K) share of each shape (row) that it assigns to another (column).
        neutral_error: (K,) its coefficients of the neutral face.
        hardness: scale of the noise.
        make: the kind of tracker.
    """

    basis: Array
    masses: Array
    crosstalk: Array
    neutral_error: Array
    hardness: float
    make: TrackerMake = AS_SEEN

    @classmethod
    def draw(
        cls,
        tissue: Tissue,
        shapes: Sequence[int],
        hardness: float,
        rng: np.random.Generator,
        make: TrackerMake = AS_SEEN,
        posed: bool = False,
    ) -> Tracker:
        """A tracker with random errors that follows these shapes of the person, or, where it was calibrated to poses,
        what the tissue makes of them, with some of each movement in the channels of its neighbours."""
        basis = tissue.tracked_shapes[list(shapes)]
        if posed:
            basis = tissue.posed(basis)
        size = np.sqrt(tissue.masses) * np.linalg.norm(basis, axis=-1)
        unit = size / np.linalg.norm(size, axis=1, keepdims=True)
        overlapping = (product(unit, unit.T) > _OVERLAP) & ~np.eye(len(basis), dtype=bool)
        scale = _LEANING * max(hardness, 1.0) if posed else hardness
        mixed = make.crosstalk * _CROSSTALK * scale * rng.standard_normal(overlapping.shape)
        if posed:
            mixed = np.abs(mixed)
        return cls(
            basis=basis,
            masses=tissue.masses,
            crosstalk=np.where(overlapping, np.clip(mixed, -_LARGEST_CROSSTALK, _LARGEST_CROSSTALK), 0.0),
            neutral_error=_NEUTRAL_ERROR * hardness * np.abs(rng.standard_normal(len(basis))),
            hardness=hardness,
            make=make,
        )

    def track(
        self, face: CoarseFace, displacement: Array, fps: float, rng: np.random.Generator
    ) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Coefficients (T, K) of the motion (T, N, 3) [cm] of one sequence, and a mask (T,), False in lost frames.

        Lost frames repeat the last coefficients.
        """
        num_frames = len(displacement)
        smooth = _autoregressive(0.6, face.smooth_field(rng, num_frames, 3))
        noise = _SMOOTH_MESH_NOISE * self.hardness * smooth.transpose(0, 2, 1)
        noise = noise + _WHITE_MESH_NOISE * rng.standard_normal(displacement.shape)
        fitted = fit_shapes(self.basis, self.masses, displacement + noise)
        slow = _autoregressive(0.9, rng.standard_normal(fitted.shape))
        white = rng.standard_normal(fitted.shape)
        errors = self.make.noise * self.hardness * (_SLOW_NOISE * slow + _WHITE_NOISE * white)
        seen = fitted + product(fitted, self.crosstalk) + self.neutral_error + errors
        return self.make.deliver(seen, fps, rng)


def fit_shapes(basis: Array, masses: Array, displacement: Array) -> Array:
    """Coefficients (T, K) of meshes (T, N, 3) [cm]: ridge regression in the mass norm, within ``BOUNDS``.

    Args:
        basis: (K, N, 3) shapes [cm].
        masses: (N,) weight of each vertex.
        displacement: (T, N, 3) of the meshes [cm].
    """
    weighted = (masses[:, None] * basis).reshape(len(basis), -1)
    gram = product(weighted, basis.reshape(weighted.shape).T)
    gram = torch.from_numpy(gram + _RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram)))
    rhs = torch.from_numpy(product(displacement.reshape(len(displacement), -1), weighted.T))
    lower, upper = (torch.full((len(gram),), bound, dtype=torch.float64) for bound in BOUNDS)
    return solve_bounded(gram, rhs, lower, upper).numpy()


def _autoregressive(memory: float, innovation: Array) -> Array:
    """A stationary AR(1) process over the first axis, with the variance of the white innovation."""
    scaled = innovation * np.sqrt(1 - memory**2)
    scaled[0] = innovation[0]
    return np.asarray(lfilter([1.0], [1.0, -memory], scaled, axis=0))
