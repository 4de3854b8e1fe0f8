"""The physics regressor (Eq. 8): from features to muscle forces and mass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from biomechau.configured_module import ConfiguredModule
from biomechau.models.detector_config import MassModel
from biomechau.models.mass import CholeskyMass, FixedMass, RegionMass
from biomechau.models.temporal import TemporalConv
from biomechau.physics.dynamics import FaceDynamics
from biomechau.rig.face_rig import FaceRig

# Fibre forces before training [unit force]; vectors start around 0.
_INITIAL_FORCE = 0.1
# Factor of the initial weights of the output layers, so that forces and masses start near these values.
_INITIAL_WEIGHT = 0.1
# Softplus bends within about 1 / sharpness of 0; forces of active muscles are 0.1 to 1.
_SHARPNESS = 2.0


@dataclass(frozen=True, eq=False)
class PhysicsParameters:
    """z_phys of Eq. 8.

    Attributes:
        forces: muscle forces [unit of ``FaceDynamics``], (..., T, M) >= 0 for fibres, (..., T, M, 3) for vectors.
        mass: M of each sequence, (..., K', K'); None for the mass of the dynamics.
        slack: what no muscle explains, (..., T, K') in units of the coefficients' spread; None without slack.
    """

    forces: Tensor
    mass: Tensor | None
    slack: Tensor | None


class PhysicsRegressor(ConfiguredModule):
    """z_phys = F_reg(z) (Eq. 8): a multi-layer perceptron over each frame and its neighbours.

    Forces are softplus of the output for ``fibre`` and the output itself for ``vector``. A mass does not change within
    a sequence: it follows from the mean of the hidden features over the frames.

    With ``linear_path`` a linear map of the same features is added to forces and slack (before the softplus). Inverse
    dynamics is linear except for the sign of the forces, and a linear path generalises better to new faces.

    Args:
        num_features: D.
        dynamics: the model that the parameters belong to; it is not stored.
        hidden: width of the two hidden layers.
        context: k, neighbouring frames on either side. A single frame shows no acceleration, so without neighbours
            the regressor cannot know the force of the law ``newton``.
        mass: "fixed" is that of the dynamics, "region" scales the masses of regions of the face, "spd" is any
            symmetric positive definite matrix near it, of the same trace; "free" is any such matrix.
        slack: also predict a slack force.
        rig: the face of the dynamics; "region" needs it.
        num_regions: for "region".
        linear_path: add the linear map.

    Raises:
        ValueError: an unknown mass, "region" without a rig, or a size out of range.
    """

    def __init__(
        self,
        num_features: int,
        dynamics: FaceDynamics,
        hidden: int = 128,
        context: int = 4,
        mass: MassModel = "fixed",
        slack: bool = False,
        rig: FaceRig | None = None,
        num_regions: int = 6,
        linear_path: bool = False,
    ) -> None:
        super().__init__()
        if mass not in get_args(MassModel):
            raise ValueError(f"mass must be one of {', '.join(get_args(MassModel))}, got {mass!r}")
        self.num_features = num_features
        self.force_shape = dynamics.force_shape
        self.fibre = dynamics.config.force == "fibre"
        self.mass_model: MassModel = mass
        self.muscles = dynamics.muscles.names
        self.layers = nn.Sequential(
            TemporalConv(num_features, hidden, context), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU()
        )
        num_forces = math.prod(self.force_shape)
        self.forces = _output(hidden, num_forces)
        if self.fibre:
            nn.init.constant_(self.forces.bias, math.log(math.expm1(_SHARPNESS * _INITIAL_FORCE)) / _SHARPNESS)
        self.slack = _output(hidden, dynamics.num_shapes) if slack else None
        self.linear = None
        if linear_path:
            self.linear = TemporalConv(num_features, num_forces + slack * dynamics.num_shapes, context)
            _start_small(self.linear.convolution)
        if mass == "region":
            if rig is None:
                raise ValueError("mass 'region' needs the rig of the dynamics")
            self.mass = RegionMass(dynamics, rig, num_regions)
        else:
            self.mass = FixedMass() if mass == "fixed" else CholeskyMass(dynamics, free=mass == "free")
        self.mass_parameters = _output(hidden, self.mass.num_parameters) if self.mass.num_parameters else None

    def configuration(self) -> dict[str, Any]:
        """Kind of force, muscles and kind of mass."""
        force = "fibre" if self.fibre else "vector"
        return {"force": force, "muscles": list(self.muscles), "mass": self.mass_model}

    def forward(self, features: Tensor) -> PhysicsParameters:
        """z (..., T, D) to the physical parameters of each frame.

        Raises:
            ValueError: features of the wrong shape.
        """
        if features.ndim < 2 or features.shape[-1] != self.num_features or not features.shape[-2]:
            raise ValueError(
                f"features must have shape (..., T, {self.num_features}) with T > 0, got {tuple(features.shape)}"
            )
        hidden = self.layers(features)
        forces = self.forces(hidden)
        slack = None if self.slack is None else self.slack(hidden)
        if self.linear is not None:
            linear = self.linear(features)
            forces = forces + linear[..., : forces.shape[-1]]
            slack = None if slack is None else slack + linear[..., forces.shape[-1] :]
        forces = forces.unflatten(-1, self.force_shape)
        parameters = None if self.mass_parameters is None else self.mass_parameters(hidden.mean(-2))
        return PhysicsParameters(
            forces=nn.functional.softplus(forces, _SHARPNESS) if self.fibre else forces,
            mass=None if parameters is None else self.mass(parameters),
            slack=slack,
        )


def _output(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    _start_small(layer)
    return layer


@torch.no_grad()
def _start_small(layer: nn.Linear | nn.Conv1d) -> None:
    layer.weight.mul_(_INITIAL_WEIGHT)
    assert layer.bias is not None
    layer.bias.zero_()
