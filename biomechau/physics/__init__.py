"""The physical model of the face: its equation of motion, forwards and backwards, and the oracle that checks it."""

from biomechau.physics.dynamics import FaceDynamics as FaceDynamics
from biomechau.physics.inverse import (
    InverseOptions as InverseOptions,
    InverseResult as InverseResult,
    inverse_dynamics as inverse_dynamics,
    required_force as required_force,
)
from biomechau.physics.newton import NewtonSimulation as NewtonSimulation
from biomechau.physics.physics_config import PhysicsConfig as PhysicsConfig
