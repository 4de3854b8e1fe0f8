"""The simulated face: a full-space mass-spring sheet with a person's own shapes, tissue and muscles.

It shares no code with :mod:`biomechau.physics`, so that assumptions of the inference are not built into its test data.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from biomechau.corpus.simulator._coarse_face import CoarseFace
from biomechau.corpus.simulator._displays import Array
from biomechau.corpus.simulator._performance import STEPS_PER_FRAME
from biomechau.corpus.simulator._person import Person
from biomechau.corpus.simulator.muscle_table import GeneratorMuscle

CUBIC = 0.08  # stiffening of the anchor springs, relative to their linear stiffness [1/cm^2]
FREQUENCIES = (2.2, 4.0)  # of people's faces [Hz]
_DAMPING = (0.8, 1.4)  # ratios
_EDGE_FRACTIONS = (0.15, 0.45)  # share of the edges in the elastic energy of the muscles' shapes


@dataclass(frozen=True, eq=False)
class Tissue:
    """One person's face.

    Attributes:
        person: the person.
        masses: (N,) [mass of the face].
        omega: natural angular frequency of the anchors and edges together [1/s].
        zeta: damping ratio.
        stiffness: (N, N) sparse, force per mass and displacement, the same for x, y and z [1/s^2].
        pull: (3N, M) sparse, acceleration of each vertex by a unit force of each muscle [cm/s^2].
        shapes: (K, N, 3) the person's own blendshapes [cm].
        tracked_shapes: (K, N, 3) the shapes as the tracker knows them, with 70 % of the individual part [cm].
    """

    person: Person
    masses: Array
    omega: float
    zeta: float
    stiffness: sparse.csr_array
    pull: sparse.csr_array
    shapes: Array
    tracked_shapes: Array

    @classmethod
    def draw(
        cls,
        face: CoarseFace,
        muscles: tuple[GeneratorMuscle, ...],
        omega: float,
        hardness: float,
        rng: np.random.Generator,
    ) -> Tissue:
        """The face of a random person with natural angular frequency ``omega`` [1/s]."""
        zeta, edge_fraction = rng.uniform(*_DAMPING), rng.uniform(*_EDGE_FRACTIONS)
        person = Person.draw(face, hardness, rng)
        shapes = person.shapes(face)
        targets = np.stack([sum(weight * shapes[k] for k, weight in muscle.shapes.items()) for muscle in muscles])

        own, rest = face.edge_lengths(face.positions + person.identity(face)), face.edge_lengths(face.positions)
        # Edges between coincident vertices, as at a seam, cannot be stretched.
        masses = _stretched_areas(face, np.divide(own, rest, out=np.ones_like(own), where=rest > 0))
        springs = face.edge_laplacian(own)
        flat = targets.transpose(1, 0, 2).reshape(len(masses), -1)
        # Scaled so that in the muscles' shapes, edges and anchors would have equal energy.
        springs = springs * ((masses[:, None] * flat * flat).sum() / (flat * (springs @ flat)).sum())
        stiffness = omega**2 * ((1 - edge_fraction) * sparse.diags_array(masses) + edge_fraction * springs)
        return cls(
            person=person,
            masses=masses,
            omega=omega,
            zeta=zeta,
            stiffness=sparse.csr_array(sparse.diags_array(1 / masses) @ stiffness),
            pull=_pull(targets, stiffness.toarray(), masses, omega),
            shapes=shapes,
            tracked_shapes=person.tracked_shapes(face),
        )

    def posed(self, shapes: Array) -> Array:
        """The face in static balance (n, N, 3) [cm], pulled along each of these shapes (n, N, 3) until it has moved as
        far (rms)."""
        stiffness = self.masses[:, None] * self.stiffness.toarray()
        return _static(shapes, stiffness, self.masses, self.omega)[1]

    def move(self, force: Array, fps: float) -> Array:
        """Displacement over time, from rest, by the semi-implicit Euler method.

        u'' = pull F - stiffness u - 2 zeta w0 u' - 0.08 w0^2 |u|^2 u

        Args:
            force: (S, F, M) muscle forces of S sequences, ``STEPS_PER_FRAME`` steps per frame.
            fps: frames per second [1/s].

        Returns:
            u (S, F / STEPS_PER_FRAME, N, 3) at the end of each frame [cm].
        """
        num_sequences, num_steps, _ = force.shape
        num_vertices = len(self.masses)
        step = 1 / (STEPS_PER_FRAME * fps)
        # Upper bound of the frequencies of the sheet (Gershgorin). Stability needs frequency times step below 2.
        highest = math.sqrt(abs(self.stiffness).sum(axis=1).max())
        substeps = math.ceil(step * highest)
        step /= substeps
        damping = 1 / (1 + 2 * self.zeta * self.omega * step)
        u, v = np.zeros((2, num_vertices, 3 * num_sequences))
        frames = np.empty((num_steps // STEPS_PER_FRAME, num_vertices, 3, num_sequences))
        for index in range(num_steps):
            driven = (self.pull @ force[:, index].T).reshape(u.shape)
            for _ in range(substeps):
                split = u.reshape(num_vertices, 3, num_sequences)
                length2 = np.square(split).sum(1, keepdims=True)
                stiffening = (CUBIC * self.omega**2 * length2 * split).reshape(u.shape)
                v = damping * (v + step * (driven - self.stiffness @ u - stiffening))
                u = u + step * v
            if (index + 1) % STEPS_PER_FRAME == 0:
                frames[index // STEPS_PER_FRAME] = u.reshape(num_vertices, 3, num_sequences)
        return frames.transpose(3, 0, 1, 2)


def weighted_rms(masses: Array, displacement: Array) -> Array:
    """Root mean square over the vertices of displacements (..., N, 3), weighted by mass."""
    return np.sqrt((masses * np.square(displacement).sum(-1)).sum(-1) / masses.sum())


def _pull(targets: Array, stiffness: Array, masses: Array, omega: float) -> sparse.csr_array:
    """(3N, M) accelerations of unit forces along the targets (M, N, 3).

    f_m = m_i w0^2 U_m(i), scaled so that in static balance the face moves as far as U_m (rms); the edges blur it.
    """
    scale, _ = _static(targets, stiffness, masses, omega)
    acceleration = omega**2 * scale[:, None, None] * targets
    return sparse.csr_array(acceleration.reshape(len(targets), -1).T)


def _static(targets: Array, stiffness: Array, masses: Array, omega: float) -> tuple[Array, Array]:
    """Factors (M,) of the forces m_i w0^2 U_m(i) along the targets (M, N, 3) that move the face as far as these (rms),
    and its displacement (M, N, 3) [cm] in static balance with each of them."""
    force = masses[:, None] * omega**2 * targets
    columns = torch.from_numpy(force.transpose(1, 0, 2).reshape(len(masses), -1).copy())
    factor = torch.linalg.cholesky(torch.from_numpy(stiffness))
    static = torch.cholesky_solve(columns, factor).numpy().reshape(len(masses), -1, 3).transpose(1, 0, 2)
    scale = weighted_rms(masses, targets) / weighted_rms(masses, static)
    return scale, scale[:, None, None] * static


def _stretched_areas(face: CoarseFace, stretch: Array) -> Array:
    """(N,) areas of the cells for a person with edges stretched by these factors, sum 1."""
    ends = face.edges.T.ravel()
    count = np.bincount(ends, minlength=len(face.areas))
    growth = np.bincount(ends, np.tile(np.square(stretch), 2), len(face.areas)) / np.maximum(count, 1)
    areas = face.areas * np.where(count > 0, growth, 1)
    return areas / areas.sum()
