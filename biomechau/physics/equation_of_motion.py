"""What inverse dynamics reads of a model of the face."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

from biomechau.physics.physics_config import PhysicsConfig
from biomechau.rig.muscles import Muscles


class EquationOfMotion(Protocol):
    """M c'' + D c' + K c = A F of K' shapes and M muscles, as :class:`biomechau.physics.FaceDynamics` has it."""

    mass: Tensor
    stiffness: Tensor
    damping: Tensor
    projection: Tensor
    config: PhysicsConfig
    muscles: Muscles
    shape_names: tuple[str, ...]

    @property
    def num_shapes(self) -> int: ...

    @property
    def num_muscles(self) -> int: ...

    @property
    def unit_acceleration(self) -> float: ...

    def check(self, name: str, tensor: Tensor, last: tuple[int, ...]) -> None: ...
