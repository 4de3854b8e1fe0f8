"""The problem that inverse dynamics solves, for one model: all but the motion."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from biomechau.physics._least_squares import Solution, smooth_least_squares
from biomechau.physics.force_metric import CUTOFF, ForceMetric
from biomechau.physics.physics_config import InverseOptions, Metric, PhysicsConfig, Scheme
from biomechau.physics.smoothing import whittaker
from biomechau.rig.muscles import Muscles


class EquationOfMotion(Protocol):
    """What inverse dynamics reads of a model: M c'' + D c' + K c = A F of K' shapes and M muscles.

    :class:`biomechau.physics.FaceDynamics` implements it.
    """

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


class FitProblem:
    """Forces F >= 0 whose displacement comes nearest to that of a motion, by the metric of the options; float64, CPU.

    The unknowns x of the solver are forces times ``scale``, so that the columns of ``matrix`` have unit length.

    Args:
        dynamics: the model.
        options: of the fit.
        dt: time step [s]; that of the model if not given.
        learned: the metric "learned", where the options ask for it.

    Attributes:
        options, learned: as given; None where the options ask for another metric.
        fps: frames per second.
        cutoff: of the low-pass filter [Hz]; None: off.
        columns: A (K', M) or (K', 3 M).
        compliance: K^-1 (K', K'), of the metric "learned" alone.
        slack_shapes: names of the shapes that are left out of the fit.
        response: weighted displacement by unit forces, without slack (K', M).
        length: of its columns.
        matrix, scale, rate, smoothness: of :func:`biomechau.physics._least_squares.smooth_least_squares`.

    Raises:
        ValueError: dt is not positive, or the metric "learned" without one that fits the model.
    """

    def __init__(
        self,
        dynamics: EquationOfMotion,
        options: InverseOptions,
        dt: float | None = None,
        learned: ForceMetric | None = None,
    ) -> None:
        config = dynamics.config
        self.options, self._step = options, time_step(dynamics, dt)
        self.fps = 1 / self._step
        self.learned = _checked_metric(learned, dynamics) if options.metric == "learned" else None
        self.cutoff = CUTOFF if self.learned is not None else options.cutoff
        self._scheme: Scheme = config.scheme
        self._nonnegative = config.force == "fibre"
        mass, damping, stiffness, projection = (
            getattr(dynamics, name).detach().cpu().double() for name in ("mass", "damping", "stiffness", "projection")
        )
        self._operators = mass, damping, stiffness
        self.columns = projection.flatten(1)
        inertial = config.law == "newton"
        self._weight = _response(mass, mass * dynamics.unit_acceleration if inertial else stiffness, options.metric)
        slack = _slack_indices(dynamics) if options.slack else []
        self.slack_shapes = tuple(dynamics.shape_names[k] for k in slack)
        self._free = torch.linalg.qr(self._weight @ (mass if inertial else stiffness)[:, slack]).Q if slack else None
        response = self._weight @ self.columns
        if self._free is not None:
            response = response - self._free @ (self._free.T @ response)
        self.response, self.length = response, _lengths(response, dynamics.num_muscles)
        self.matrix, self.scale = response / self.length, self.length
        self.rate = options.sparsity * self.length
        if self.learned is not None:
            self.compliance = torch.linalg.inv(stiffness)
            self._share = math.nan
            self.weigh(1.0)
        self.smoothness = (options.smoothness * self.fps) ** 2

    def weigh(self, share: float) -> None:
        """Take the metric "learned" for this noise share; of any other metric nothing changes."""
        if self.learned is not None and share != self._share:
            self._share = share
            self._whitening, fitted, rate = self.learned.problem(share)
            self.scale = _lengths(fitted, len(rate))
            self.matrix, self.rate = fitted / self.scale, rate / self.scale

    def smoothed(self, motion: Tensor) -> Tensor:
        """Coefficients (..., T, K') without what is above the cutoff."""
        return motion if self.cutoff is None else whittaker(motion, self.cutoff, self.fps)

    def required_force(self, motion: Tensor) -> Tensor:
        """Q = M c'' + D c' + K c of coefficients (..., T, K')."""
        return force_by_differences(motion, self._operators, self._scheme, self._step)

    def displacement(self, force: Tensor) -> Tensor:
        """The weighted displacement (..., T, K') by generalized forces."""
        return force @ self._weight.T

    def without_slack(self, displacement: Tensor) -> Tensor:
        """A weighted displacement without what the shapes without muscle account for."""
        return displacement if self._free is None else displacement - (displacement @ self._free) @ self._free.T

    def aim(self, force: Tensor) -> Tensor:
        """What ``matrix`` times the unknowns should be, (..., T, R), for generalized forces (..., T, K')."""
        if self.learned is None:
            return self.without_slack(self.displacement(force))
        seen = force @ (self._whitening @ self.compliance).mT
        return torch.cat([seen, seen.new_zeros(*seen.shape[:-1], len(self.scale))], -1)

    def solve(
        self,
        aim: Tensor,
        observed: Tensor | None = None,
        progress: Callable[[int, int], None] | None = None,
        start: Tensor | None = None,
    ) -> Solution:
        """The unknowns (..., T, M); arguments as :func:`biomechau.physics._least_squares.smooth_least_squares`."""
        return smooth_least_squares(
            self.matrix,
            aim,
            self.rate,
            self.smoothness,
            self._nonnegative,
            observed,
            self.options.tolerance,
            self.options.max_iterations,
            progress,
            start,
        )


def time_step(dynamics: EquationOfMotion, dt: float | None) -> float:
    """The given time step or, if there is none, that of the model [s]; raises ``ValueError`` unless it is positive."""
    dt = dynamics.config.dt if dt is None else dt
    if not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"dt must be positive, got {dt}")
    return dt


def force_by_differences(c: Tensor, operators: tuple[Tensor, Tensor, Tensor], scheme: Scheme, h: float) -> Tensor:
    """M c'' + D c' + K c of c (..., T, K'), by the differences of an integration scheme of the time step h [s]."""
    mass, damping, stiffness = operators
    rate = c.diff(dim=-2) / h
    # Rates of the T + 3 steps around the T frames, two continued at each end.
    rate = torch.cat([rate[..., :1, :]] * 2 + [rate] + [rate[..., -1:, :]] * 2, -2)
    change = rate.diff(dim=-2) / h
    num_frames = c.shape[-2]
    # rate[t + 1] leads to frame t and rate[t + 2] away from it; change[t + 1] lies between the two.
    if scheme == "explicit":
        velocity, acceleration = rate[..., 2 : num_frames + 2, :], change[..., 2 : num_frames + 2, :]
    elif scheme == "semi_implicit":
        velocity, acceleration = rate[..., 1 : num_frames + 1, :], change[..., 1 : num_frames + 1, :]
    else:
        velocity, acceleration = rate[..., 1 : num_frames + 1, :], change[..., :num_frames, :]
    return acceleration @ mass + velocity @ damping + c @ stiffness


def _lengths(matrix: Tensor, num_muscles: int) -> Tensor:
    """(M,) or (3 M,) length of each column; one per muscle, so that the axes of a vector are scaled alike."""
    length = matrix.square().sum(0).reshape(num_muscles, -1).mean(1).sqrt()
    length = length.clamp_min(torch.finfo(length.dtype).tiny)
    return length.repeat_interleave(matrix.shape[1] // num_muscles)


def _checked_metric(learned: ForceMetric | None, dynamics: EquationOfMotion) -> ForceMetric:
    if learned is None:
        raise ValueError('the metric "learned" is needed where options.metric is "learned": give one as learned')
    learned.check_physics(dynamics.config)
    learned.check(dynamics.shape_names, dynamics.muscles.names)
    return learned


def _response(mass: Tensor, resistance: Tensor, metric: Metric) -> Tensor:
    """Generalized force to weighted static displacement: diag(M)^1/2 K^-1, or M^1/2 K^-1 by a Cholesky factor."""
    root = torch.linalg.cholesky(mass).mT if metric == "mesh" else mass.diagonal().sqrt().diag()
    return torch.linalg.solve(resistance, root.mT).mT


def _slack_indices(dynamics: EquationOfMotion) -> list[int]:
    """Shapes that belong to no muscle."""
    own = {name for muscle in dynamics.muscles for name in muscle.shapes}
    return [k for k, name in enumerate(dynamics.shape_names) if name not in own]
