"""PhysicsConfig and InverseOptions: every option of the physical model and of its inverse in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, ClassVar, Literal

from biomechau._options import Count, Interval, NotNegative, Options, Percentile, Positive

Law = Literal["elastic", "newton"]
Force = Literal["fibre", "vector"]
Scheme = Literal["implicit", "semi_implicit", "explicit"]
ForceUnit = Literal["expression", "vertex"]
Damping = Literal["stiffness", "mass"]
FibreArea = Literal["face", "muscle"]
# Positive, and with room for squares and sums.
_Moderate = Annotated[float, Interval("[1e-9, 1e9]")]
Metric = Literal["coefficients", "mesh", "learned"]


@dataclass(frozen=True)
class PhysicsConfig(Options):
    """The equation of motion M c'' + D c' + K c = A F, its forces and its integration.

    Lengths are in cm, times in seconds, masses in units of the face.

    Raises:
        ValueError: a value outside its range, or an unknown name.
    """

    # "elastic": skin with stiffness K and damping D; "newton": D = K = 0 (Eq. 5)
    law: Law = "elastic"
    # "fibre": one force >= 0 per muscle along fixed directions; "vector": one 3-vector per muscle (Eq. 1)
    force: Force = "fibre"
    # unit of force: "expression", by the effect on the muscle's own expression (see FaceDynamics), or "vertex", the
    # mean mass of a vertex x cm / frame^2, for all muscles (Eq. 9 with time in frames)
    force_unit: ForceUnit = "expression"
    # Euler scheme: "implicit" is stable for every stiffness, "explicit" is Eq. 6
    scheme: Scheme = "implicit"
    # frames per second of the motion, > 0 [1/s]
    fps: Positive = 25.0
    # natural frequency of the face in the elastic law, > 0 [Hz]
    f0: Positive = 3.0
    # damping ratio in the elastic law at the natural frequency, >= 0; 1 is critical [1]
    zeta: NotNegative = 1.0
    # what damps the elastic law: "stiffness" is the viscosity of the tissue itself, D = 2 zeta K / w0 (Kelvin-Voigt);
    # "mass" is that of a fluid around it, D = 2 zeta w0 M
    damping: Damping = "stiffness"
    # share of the stiffness that comes from springs along the mesh edges, 0 to 1; the rest anchors each vertex [1]
    edge_fraction: Annotated[float, Interval("[0, 1]")] = 0.07
    # vertices that a fibre force acts on: "face" is all that must be held for the muscle's own shapes to stay; "muscle"
    # is those in the muscle's area of P, whose edge then moves other shapes too
    fibre_area: FibreArea = "face"
    # factor s of the generalized mass M = s sum_i m_i B(i)^T B(i), > 0; 1 is the kinetic energy, 0.5 Eq. 4 [1]
    mass_scale: _Moderate = 1.0
    # sum of the vertex masses, > 0 [mass of the face]
    total_mass: _Moderate = 1.0

    BEFORE: ClassVar[Mapping[str, Any]] = {"damping": "mass", "fibre_area": "muscle", "force_unit": "expression"}

    @property
    def dt(self) -> float:
        """Time step h = 1 / fps [s]."""
        return 1 / self.fps

    @property
    def omega(self) -> float:
        """Natural angular frequency w0 = 2 pi f0 [1/s]."""
        return 2 * math.pi * self.f0

    @classmethod
    def paper(cls, fps: float = 25.0) -> PhysicsConfig:
        """Exactly as in the paper: Eq. 5 with the 1/2 of Eq. 4, 3-vector forces, Eq. 6 with one step per frame.

        The paper counts time in frames, this package in seconds. Motion and forces are the same; rates are ``fps``
        times theirs.
        """
        return cls(law="newton", force="vector", force_unit="vertex", scheme="explicit", fps=fps, mass_scale=0.5)


@dataclass(frozen=True)
class InverseOptions(Options):
    """Options of inverse dynamics.

    Raises:
        ValueError: a value outside its range.
    """

    # error to minimise: "coefficients", each weighted by the displacement of its shape, suits trackers, whose errors
    # are independent between coefficients; "mesh" is the displacement of all vertices; "learned" weights errors and
    # forces as those of simulated people of the same face, has its own slack, cutoff and sparsity, and subtracts the
    # 10th percentile where no neutral face is given
    metric: Metric = "coefficients"
    # leave shapes that belong to no muscle (gaze, cheek puff, sideways jaw) out of the fit, so that no muscle has to
    # explain them
    slack: bool = True
    # cutoff of the low-pass filter before differentiation, where amplitudes are halved, > 0 [Hz]; None: off
    cutoff: Positive | None = 6.0
    # time constant tau of the forces, >= 0 [s]: Eq. 16 with the weight (tau fps)^2
    smoothness: NotNegative = 0.05
    # weight of Eq. 15, >= 0 [unit force]: roughly the force below which a muscle is set to 0
    sparsity: NotNegative = 0.01
    # percentile of each coefficient over its sequence, subtracted as the neutral face, 0 to 100 (usually 5 to 10); of
    # the forces alone, not of action units. None: nothing is subtracted
    neutral: Percentile | None = None
    # violation of the optimality conditions at which the solver stops, > 0 [share of the largest gradient]
    tolerance: Annotated[float, Interval("(0, 1)")] = 1e-6
    # maximum number of iterations, >= 1; a warning says when it is reached
    max_iterations: Count = 10000

    OWN_OF_LEARNED: ClassVar[tuple[str, ...]] = ("slack", "cutoff", "sparsity")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = [name for name in self.OWN_OF_LEARNED if getattr(self, name) != getattr(type(self), name)]
        if self.metric == "learned" and given:
            raise ValueError(f"the learned metric has its own {given[0]}: leave {given[0]} out, or take another metric")

    def used(self) -> dict[str, Any]:
        """The options by name, without those that the learned metric has of its own."""
        own = self.OWN_OF_LEARNED if self.metric == "learned" else ()
        return {name: value for name, value in asdict(self).items() if name not in own}


# Of the causal inverse: what the solver leaves at this tolerance is far below what a delay costs, and the time that a
# frame takes is bounded. Forces of 120 ms ago are hardly other than those that the whole recording gives [s].
LIVE = InverseOptions(tolerance=1e-3, max_iterations=100)
DELAY, LONGEST_DELAY = 0.12, 0.2
