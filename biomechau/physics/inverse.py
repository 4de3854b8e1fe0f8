"""Inverse dynamics: from motion to the muscle forces that cause it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from biomechau.ops.tracing import jit_trace, only_ops_recorded, refuse_in_jit_trace
from biomechau.physics._least_squares import smooth_least_squares
from biomechau.physics._posterior import posterior_deviation
from biomechau.physics.force_metric import CUTOFF, NEUTRAL, ForceMetric
from biomechau.physics.neutral import neutral_coefficients
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


@dataclass(frozen=True, eq=False)
class InverseResult:
    """Forces, and what they leave unexplained. ``...`` are the leading axes of the coefficients.

    Attributes:
        forces: muscle forces at each frame [unit of ``FaceDynamics``], (..., T, M) >= 0, or (..., T, M, 3).
        residual: r = M c'' + D c' + K c - A F, the generalized force that the muscles do not produce, (..., T, K').
        coefficients: the motion that was inverted, without the neutral face and smoothed, (..., T, K').
        neutral: the neutral face that was subtracted from every frame, (..., K').
        explained: (...,), share of the squared displacement in the fit that the forces explain.
        slack_share: (...,), share of the squared displacement that the shapes left out of the fit account for.
        slack_shapes: names of the shapes that were left out, because they belong to no muscle.
        rank: of the fitted system; if it is less than the number of unknowns, the forces are not unique.
        null_space: (n, M) or (n, M, 3), n patterns of force that do not change the fit, orthonormal in its scaling of
            the unknowns.
        condition: condition number of the fitted system with unit columns, its largest over its smallest non-zero
            singular value: how much errors of the motion may be amplified.
        iterations, gap, converged: of the solver, see :class:`biomechau.physics._least_squares.Solution`.
        deviation: (..., T, M) standard deviation of each force given the recording, where it was asked for. The true
            force is within 1.645 times this of the found one in about 9 of 10 active frames of noisy simulated people,
            and in 7 of 10 or more if the tracker is clean.
    """

    forces: Tensor
    residual: Tensor
    coefficients: Tensor
    neutral: Tensor
    explained: Tensor
    slack_share: Tensor
    slack_shapes: tuple[str, ...]
    rank: int
    null_space: Tensor
    condition: float
    iterations: int
    gap: float
    converged: bool
    deviation: Tensor | None = None


def required_force(dynamics: EquationOfMotion, c: Tensor, dt: float | None = None) -> Tensor:
    """Q = M c'' + D c' + K c at each frame, with the finite differences of the integration scheme.

    So the scheme, started with ``dynamics.initial_state(c)``, returns exactly c(1) .. c(T-1) when it is given
    Q(0) .. Q(T-2) (``explicit``, ``semi_implicit``) or Q(1) .. Q(T-1) (``implicit``, whose force acts at the end of a
    step). Where a difference reaches beyond the sequence, the motion is continued at constant velocity.

    Args:
        dynamics: the model.
        c: coefficients, shape (..., T, K'), T >= 3.
        dt: time step [s]; that of the model if not given.

    Returns:
        Q, shape (..., T, K').

    Raises:
        TypeError: c has another dtype than the model.
        ValueError: dt is not positive, c has the wrong shape, or is not finite (the frame is named).
    """
    operators = dynamics.mass, dynamics.damping, dynamics.stiffness
    return _required_force(_checked(dynamics, c), operators, dynamics.config.scheme, _step(dynamics, dt))


def inverse_dynamics(
    dynamics: EquationOfMotion,
    c: Tensor,
    dt: float | None = None,
    options: InverseOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
    valid: Tensor | None = None,
    learned: ForceMetric | None = None,
    deviation: bool = False,
    neutral: Tensor | None = None,
) -> InverseResult:
    """Find the F with M c'' + D c' + K c = A F + r, with F >= 0 for ``fibre`` forces.

    The residual is converted to displacement by the static response K^-1 (law ``newton``: M^-1, in unit accelerations)
    and weighted by the metric. Its square over all frames, plus Eq. 15 and Eq. 16, is minimised in float64 on the CPU.
    Not differentiable: a c that requires grad is detached, with a warning. The results have the dtype and the device of
    c.

    Args:
        dynamics: the model.
        c: coefficients of the shapes ``dynamics.shape_names``, shape (..., T, K'), T >= 3.
        dt: time step [s]; that of the model if not given.
        options: of the fit.
        progress: called with (done, total) while solving.
        valid: (..., T) bool, frames that were recorded. Forces of the others (filled gaps) follow from their neighbours
            alone, and these frames count neither for the neutral face nor for the reported shares.
        learned: the metric "learned", of this face; see :func:`biomechau.analysis.learn_metric`.
        deviation: also the standard deviation of each force, which only the metric "learned" knows.
        neutral: (K',) neutral face to subtract, instead of a percentile of c.

    Raises:
        TypeError: c has another dtype than the model, or valid is not bool.
        ValueError: dt is not positive, c or valid has the wrong shape, c is not finite (the frame is named), no frame
            is valid, the metric "learned" without one that fits the model, or a deviation by another metric.

    Warns:
        UserWarning: the solver stopped before it reached its tolerance, or c requires grad.
    """
    refuse_in_jit_trace("inverse_dynamics", "it iterates until it has converged")
    options = InverseOptions() if options is None else options
    config = dynamics.config
    h = _step(dynamics, dt)
    fps = 1 / h
    percentile, cutoff = options.neutral, options.cutoff
    if deviation and options.metric != "learned":
        raise ValueError('standard deviations of forces need the metric "learned", which knows the errors of trackers')
    if options.metric == "learned":
        learned = _checked_metric(learned, dynamics)
        percentile, cutoff = NEUTRAL if percentile is None else percentile, CUTOFF
    c = _checked(dynamics, c)
    if c.requires_grad and torch.is_grad_enabled():
        text = "the forces of inverse dynamics have no gradient, but c requires grad: give it c.detach()"
        warnings.warn(text, UserWarning, stacklevel=2)
    with torch.no_grad():
        motion = c.detach().cpu().double()
        observed = _checked_valid(valid, motion)
        if neutral is not None:
            neutral = neutral.detach().cpu().double().expand_as(motion[..., 0, :])
        elif percentile is not None:
            neutral = neutral_coefficients(motion, percentile, observed)
        else:
            neutral = motion.new_zeros(motion[..., 0, :].shape)
        motion = motion - neutral[..., None, :]
        if cutoff is not None:
            motion = whittaker(motion, cutoff, fps)

        mass, damping, stiffness, projection = (
            getattr(dynamics, name).detach().cpu().double() for name in ("mass", "damping", "stiffness", "projection")
        )
        force = _required_force(motion, (mass, damping, stiffness), config.scheme, h)
        columns = projection.flatten(1)
        inertial = config.law == "newton"
        weight = _response(mass, mass * dynamics.unit_acceleration if inertial else stiffness, options.metric)
        target, matrix = force @ weight.T, weight @ columns

        slack = _slack_indices(dynamics) if options.slack else []
        total = _energy(target, observed)
        if slack:
            free = torch.linalg.qr(weight @ (mass if inertial else stiffness)[:, slack]).Q
            target = target - (target @ free) @ free.T
            matrix = matrix - free @ (free.T @ matrix)

        length = _lengths(matrix, dynamics.num_muscles)
        fitted, aim, scale, rate = matrix, target, length, options.sparsity * length
        if options.metric == "learned" and learned is not None:
            compliance = torch.linalg.inv(stiffness)
            fitted, aim, rate = learned.problem(force @ compliance.mT, compliance @ columns)
            scale = _lengths(fitted, dynamics.num_muscles)
            rate = rate / scale
        solution = smooth_least_squares(
            fitted / scale,
            aim,
            rate,
            (options.smoothness * fps) ** 2,
            config.force == "fibre",
            observed,
            options.tolerance,
            options.max_iterations,
            progress,
        )
        if not solution.converged:
            warnings.warn(
                f"the inverse dynamics stopped after {solution.iterations} iterations with a gap of "
                f"{solution.gap:.1e}, above the tolerance {options.tolerance:.1e}",
                UserWarning,
                stacklevel=2,
            )
        unknowns = solution.x / scale
        spread = None
        if deviation and learned is not None:
            tau2 = (options.smoothness * fps) ** 2
            spread = posterior_deviation(fitted / scale, aim, rate, tau2, solution.x, observed, progress)
            missed = (force - unknowns @ columns.T) @ torch.linalg.inv(stiffness).T
            spread = learned.widening * learned.noise(missed, observed)[..., None, None] * spread / scale
        reached = _energy(target, observed)
        missed = _energy(target - unknowns @ matrix.T, observed)
        rank, condition, null_space = _identifiability(matrix / length)
        shape = projection.shape[1:]

        def like_input(value: Tensor) -> Tensor:
            return value.to(device=c.device, dtype=c.dtype)

        return InverseResult(
            forces=like_input(unknowns.unflatten(-1, shape)),
            residual=like_input(force - unknowns @ columns.T),
            coefficients=like_input(motion),
            neutral=like_input(neutral),
            explained=like_input(torch.where(reached > 0, 1 - missed / reached, 1.0)),
            slack_share=like_input(torch.where(total > 0, 1 - reached / total, 0.0)),
            slack_shapes=tuple(dynamics.shape_names[k] for k in slack),
            rank=rank,
            null_space=like_input((null_space / length).unflatten(-1, shape)),
            condition=condition,
            iterations=solution.iterations,
            gap=solution.gap,
            converged=solution.converged,
            deviation=None if spread is None else like_input(spread),
        )


def _lengths(matrix: Tensor, num_muscles: int) -> Tensor:
    """(M,) or (3 M,) length of each column; one per muscle, so that the axes of a vector are scaled alike."""
    length = matrix.square().sum(0).reshape(num_muscles, -1).mean(1).sqrt()
    length = length.clamp_min(torch.finfo(length.dtype).tiny)
    return length.repeat_interleave(matrix.shape[1] // num_muscles)


def _checked_metric(learned: ForceMetric | None, dynamics: EquationOfMotion) -> ForceMetric:
    if learned is None:
        raise ValueError('the metric "learned" is needed where options.metric is "learned": give one as learned')
    if dynamics.config.law != "elastic" or dynamics.config.force != "fibre":
        raise ValueError('the metric "learned" needs the law "elastic" and fibre forces')
    learned.check(dynamics.shape_names, dynamics.muscles.names)
    return learned


def _step(dynamics: EquationOfMotion, dt: float | None) -> float:
    dt = dynamics.config.dt if dt is None else dt
    if not (dt > 0 and math.isfinite(dt)):
        raise ValueError(f"dt must be positive, got {dt}")
    return dt


def _checked(dynamics: EquationOfMotion, c: Tensor) -> Tensor:
    if jit_trace() is not None:
        return only_ops_recorded(_checked, dynamics, c)
    dynamics.check("c", c, (dynamics.num_shapes,))
    if c.ndim < 2 or c.shape[-2] < 3:
        raise ValueError(f"c must have shape (..., T, {dynamics.num_shapes}) with T >= 3, got {tuple(c.shape)}")
    finite = torch.isfinite(c)
    if not bool(finite.all()):
        *_, frame, shape = (~finite).nonzero()[0].tolist()
        raise ValueError(f"c is not finite at frame {frame}, shape {dynamics.shape_names[shape]}")
    return c


def _checked_valid(valid: Tensor | None, c: Tensor) -> Tensor:
    """``valid`` (..., T) bool of c (..., T, K'), checked; all True if not given."""
    if valid is None:
        return torch.ones(c.shape[:-1], dtype=torch.bool)
    if not isinstance(valid, Tensor):
        raise TypeError(f"valid must be a torch.Tensor, got {type(valid).__name__}")
    if valid.dtype != torch.bool:
        raise TypeError(f"valid must be bool, got {valid.dtype}")
    if valid.shape != c.shape[:-1]:
        raise ValueError(f"valid must have shape {tuple(c.shape[:-1])}, got {tuple(valid.shape)}")
    if not bool(valid.any(-1).all()):
        raise ValueError("valid must hold at least one frame of every sequence")
    return valid.cpu()


def _energy(value: Tensor, observed: Tensor) -> Tensor:
    """Sum of squares over the observed frames: (..., T, R) to (...)."""
    return (value.square().sum(-1) * observed).sum(-1)


def _required_force(c: Tensor, operators: tuple[Tensor, Tensor, Tensor], scheme: Scheme, h: float) -> Tensor:
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


def _response(mass: Tensor, resistance: Tensor, metric: Metric) -> Tensor:
    """Generalized force to weighted static displacement: diag(M)^1/2 K^-1, or M^1/2 K^-1 by a Cholesky factor."""
    root = torch.linalg.cholesky(mass).mT if metric == "mesh" else mass.diagonal().sqrt().diag()
    return torch.linalg.solve(resistance, root.mT).mT


def _slack_indices(dynamics: EquationOfMotion) -> list[int]:
    """Shapes that belong to no muscle."""
    own = {name for muscle in dynamics.muscles for name in muscle.shapes}
    return [k for k, name in enumerate(dynamics.shape_names) if name not in own]


def _identifiability(matrix: Tensor) -> tuple[int, float, Tensor]:
    """Rank, condition and a basis of the null space (n, M) of a matrix with unit columns."""
    _, values, rows = torch.linalg.svd(matrix, full_matrices=True)
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps * float(values[0])
    rank = int((values > tolerance).sum())
    return rank, float(values[0] / values[rank - 1]), rows[rank:]
