"""Inverse dynamics: from motion to the muscle forces that cause it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from biomechau.ops.tracing import jit_trace, only_ops_recorded, refuse_in_jit_trace
from biomechau.physics._fit_problem import EquationOfMotion, FitProblem, force_by_differences, time_step
from biomechau.physics._posterior import posterior_deviation
from biomechau.physics.force_metric import NEUTRAL, ForceMetric, noise_share
from biomechau.physics.neutral import neutral_coefficients
from biomechau.physics.physics_config import InverseOptions


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
            force is within 1.645 times this of the found one in about 9 of 10 active frames of simulated people.
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
    return force_by_differences(_checked(dynamics, c), operators, dynamics.config.scheme, time_step(dynamics, dt))


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
        learned: the metric "learned", of this face; see :func:`biomechau.analysis.learn_metric`. It takes the noise of
            the tracker from all sequences together.
        deviation: also the standard deviation of each force, which only the metric "learned" knows.
        neutral: (K',) or (..., K') neutral face to subtract, instead of a percentile of each sequence.

    Raises:
        TypeError: c has another dtype than the model, valid is not bool, or options are no InverseOptions.
        ValueError: dt is not positive, c or valid has the wrong shape, c is not finite (the frame is named), no frame
            is valid, the metric "learned" without one that fits the model, or a deviation by another metric.

    Warns:
        UserWarning: the solver stopped before it reached its tolerance, or c requires grad.
    """
    refuse_in_jit_trace("inverse_dynamics", "it iterates until it has converged")
    if not isinstance(options, InverseOptions | None):
        raise TypeError(f"options must be InverseOptions, got {type(options).__name__}")
    options = InverseOptions() if options is None else options
    percentile = options.neutral
    if deviation and options.metric != "learned":
        raise ValueError('standard deviations of forces need the metric "learned", which knows the errors of trackers')
    problem = FitProblem(dynamics, options, dt, learned)
    if options.metric == "learned" and percentile is None:
        percentile = NEUTRAL
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
        problem.weigh(noise_share(motion, problem.fps, observed))
        motion = problem.smoothed(motion - neutral[..., None, :])
        force = problem.required_force(motion)
        whole = problem.displacement(force)
        target = problem.without_slack(whole)
        solution = problem.solve(problem.aim(force), observed, progress)
        if not solution.converged:
            warnings.warn(
                f"the inverse dynamics stopped after {solution.iterations} iterations with a gap of "
                f"{solution.gap:.1e}, above the tolerance {options.tolerance:.1e}",
                UserWarning,
                stacklevel=2,
            )
        unknowns, columns = solution.x / problem.scale, problem.columns
        spread = None
        if deviation and problem.learned is not None:
            spread = posterior_deviation(
                problem.matrix,
                problem.aim(force),
                problem.rate,
                problem.smoothness,
                solution.x,
                observed,
                progress,
            )
            missed = force @ problem.compliance.T - unknowns @ problem.learned.response.T
            size = problem.learned.widening * problem.learned.noise(missed, observed)
            spread = size[..., None, None] * spread / problem.scale
        total, reached = _energy(whole, observed), _energy(target, observed)
        missed = _energy(target - unknowns @ problem.response.T, observed)
        rank, condition, null_space = _identifiability(problem.response / problem.length)
        shape = dynamics.projection.shape[1:]

        def like_input(value: Tensor) -> Tensor:
            return value.to(device=c.device, dtype=c.dtype)

        return InverseResult(
            forces=like_input(unknowns.unflatten(-1, shape)),
            residual=like_input(force - unknowns @ columns.T),
            coefficients=like_input(motion),
            neutral=like_input(neutral),
            explained=like_input(torch.where(reached > 0, 1 - missed / reached, 1.0)),
            slack_share=like_input(torch.where(total > 0, 1 - reached / total, 0.0)),
            slack_shapes=problem.slack_shapes,
            rank=rank,
            null_space=like_input((null_space / problem.length).unflatten(-1, shape)),
            condition=condition,
            iterations=solution.iterations,
            gap=solution.gap,
            converged=solution.converged,
            deviation=None if spread is None else like_input(spread),
        )


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


def _identifiability(matrix: Tensor) -> tuple[int, float, Tensor]:
    """Rank, condition and a basis of the null space (n, M) of a matrix with unit columns."""
    _, values, rows = torch.linalg.svd(matrix, full_matrices=True)
    tolerance = max(matrix.shape) * torch.finfo(matrix.dtype).eps * float(values[0])
    rank = int((values > tolerance).sum())
    return rank, float(values[0] / values[rank - 1]), rows[rank:]
