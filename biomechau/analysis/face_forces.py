"""Muscle forces of one face over time, from inverse dynamics or from a detector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from biomechau import ops
from biomechau.analysis.asymmetry import AsymmetryIndex, Floats, asymmetry_index
from biomechau.corpus import FaceSequence
from biomechau.physics import FaceDynamics
from biomechau.rig import Distribution, FaceRig, fibre_directions
from biomechau.rig.names import ChannelMap


@dataclass(frozen=True, eq=False)
class FaceModel:
    """A face, its muscles and its physics.

    Attributes:
        rig: the face.
        distribution: of the muscle forces over the vertices.
        dynamics: the physical model.
    """

    rig: FaceRig
    distribution: Distribution
    dynamics: FaceDynamics

    @property
    def identifiers(self) -> tuple[str, ...]:
        """The M muscles."""
        return self.distribution.muscles.names

    @property
    def force_unit(self) -> str:
        """Meaning of a force of 1, in words."""
        if self.dynamics.config.law == "elastic":
            return "1 = holds the full expression"
        return "1 = speeds up by 0.05 expressions / frame²"

    def vertex_force(self, forces: Tensor) -> Floats:
        """Magnitude of the force on each vertex (Eq. 1), (N,), in units of :attr:`vertex_force_unit`.

        Fibre forces are given per unit mass, which does not depend on the resolution of the mesh:
        w^2 |sum_m F_m b_m(i)| with w^2 the stiffness per mass (``elastic``) or the unit acceleration (``newton``).

        Args:
            forces: of one frame, (M,) or (M, 3).
        """
        dynamics = self.dynamics
        if dynamics.config.force == "vector":
            scaled = forces * dynamics.force_scale[:, None]
            return ops.distribute_forces(self.distribution, scaled).double().norm(dim=-1).numpy()
        # Unit masses: P(i,m) d_m(i) = b_m(i).
        directions = fibre_directions(self.rig, self.distribution, torch.ones(self.rig.num_vertices))
        return (
            self._per_mass * ops.distribute_forces(self.distribution, forces, directions).double().norm(dim=-1).numpy()
        )

    def muscle_fields(self) -> Tensor:
        """Effect of a unit force of each muscle on each vertex, so that :meth:`vertex_force` is |sum_m F_m field_m|.

        Returns:
            (M, N, 3) force per unit mass of ``fibre`` forces, or (M, N) share of ``vector`` forces, zero outside the
            area of a muscle; in units of :attr:`vertex_force_unit`.
        """
        dynamics, distribution = self.dynamics, self.distribution
        shape = (distribution.shape[1], distribution.shape[0])
        if dynamics.config.force == "vector":
            return distribution.dense().T * dynamics.force_scale[:, None]
        fields = distribution.val.new_zeros(*shape, 3)
        directions = fibre_directions(self.rig, distribution, torch.ones(self.rig.num_vertices))
        fields[distribution.col, distribution.row] = self._per_mass * distribution.val[:, None] * directions
        return fields

    def distance(self, difference: Tensor) -> Floats:
        """Displacement by coefficients (T, K'), root mean square over the area of the face [mm], (T,)."""
        config, difference = self.dynamics.config, difference.double()
        square = ((difference @ self.dynamics.mass.double()) * difference).sum(-1) / config.mass_scale
        return 10 * (square / config.total_mass).clamp(min=0).sqrt().numpy()

    @property
    def _per_mass(self) -> float:
        """The stiffness per mass (``elastic``), or the unit acceleration (``newton``) [1/s^2]."""
        dynamics = self.dynamics
        return dynamics.config.omega**2 if dynamics.config.law == "elastic" else dynamics.unit_acceleration

    @property
    def vertex_force_unit(self) -> str:
        """Name and unit of :meth:`vertex_force`."""
        if self.dynamics.config.force == "vector":
            return "muscle force per vertex [face mass · cm/s²]"
        return "muscle force per unit mass [cm/s²]"


@dataclass(frozen=True, eq=False)
class FaceForces(FaceModel):
    """The muscle forces of one sequence.

    Attributes:
        sequence: the recording, at the frame rate of the model.
        channels: how its channels drive the shapes of the rig.
        coefficients: (T, K') of the shapes that the model keeps, as recorded.
        forces: (T, M) or (T, M, 3) [unit of ``FaceDynamics``].
    """

    sequence: FaceSequence
    channels: ChannelMap
    coefficients: Tensor
    forces: Tensor

    @cached_property
    def strength(self) -> Floats:
        """(T, M) force of each muscle, its magnitude where forces are vectors [unit of ``FaceDynamics``]."""
        return force_strength(self.forces)

    @cached_property
    def strongest_frame(self) -> int:
        """The valid frame with the largest sum of forces."""
        total = np.where(self.sequence.valid.numpy(), self.strength.sum(1), -np.inf)
        return int(total.argmax())

    @cached_property
    def asymmetry(self) -> AsymmetryIndex:
        """Which side moves more, see :func:`asymmetry_index`."""
        return asymmetry_index(self.strength[self.sequence.valid.numpy()], self.distribution.muscles)

    def vertices(self, frame: int) -> Floats:
        """(N, 3) the recorded face at a frame [cm]."""
        return (self.rig.neutral + self.dynamics.deform(self.coefficients[frame])).double().numpy()


def force_strength(forces: Tensor) -> Floats:
    """(T, M) magnitude of muscle forces (T, M) or (T, M, 3), float64."""
    forces = forces.double()
    return (forces if forces.ndim == 2 else forces.norm(dim=-1)).numpy()
