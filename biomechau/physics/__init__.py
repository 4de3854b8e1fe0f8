"""The physical model of the face: forward and inverse dynamics, and the full-space simulation that checks them."""

from typing import TYPE_CHECKING

from biomechau._lazy import lazy_names

if TYPE_CHECKING:
    from biomechau.physics.causal_inverse import CausalInverse
    from biomechau.physics.dynamics import FaceDynamics
    from biomechau.physics.force_metric import ForceMetric
    from biomechau.physics.inverse import InverseResult, inverse_dynamics, required_force
    from biomechau.physics.newton import NewtonSimulation
    from biomechau.physics.physics_config import InverseOptions, PhysicsConfig

__all__ = [
    "CausalInverse",
    "FaceDynamics",
    "ForceMetric",
    "InverseOptions",
    "InverseResult",
    "NewtonSimulation",
    "PhysicsConfig",
    "inverse_dynamics",
    "required_force",
]

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "causal_inverse": ("CausalInverse",),
        "dynamics": ("FaceDynamics",),
        "force_metric": ("ForceMetric",),
        "inverse": ("InverseResult", "inverse_dynamics", "required_force"),
        "newton": ("NewtonSimulation",),
        "physics_config": ("InverseOptions", "PhysicsConfig"),
    },
)
