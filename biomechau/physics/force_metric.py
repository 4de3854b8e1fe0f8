"""The learned metric of inverse dynamics: the errors of trackers and the habits of muscles, from simulated people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from biomechau.physics.physics_config import PhysicsConfig
from biomechau.physics.smoothing import white_noise
from biomechau.rig.names import mirror_order

# Of the inverse that uses the metric: percentile of the neutral face, and cutoff of the low-pass filter [Hz].
NEUTRAL, CUTOFF = 10.0, 4.0
# Correlation with the true force from which on a muscle is determined.
DETERMINED = 0.5
# Force from which on a muscle is active, for the coverage of intervals; standard deviations to either side of 90 %.
ACTIVE, NORMAL_90 = 0.05, 1.645
# Share of the active forces of its own simulated people that intervals of 90 % are widened to hold.
_COVERED = 0.9
# Weight of the forces' second moment, and of the exponential term of each muscle, for a noisy tracker.
_PRIOR, _EXPONENTIAL = 0.7, 0.35
# White noise of coefficients at 25 frames per second from which on a tracker is noisy, and the least noise share.
_NOISY, _LEAST_SHARE = 0.008, 0.4
# Weight of the response of the physics in that of the metric, against the second moment of a muscle's force.
_PHYSICS = 0.06
# Added to the covariances so that they can be inverted: a share of the diagonal, and an absolute variance.
_SHRINKAGE, _LEAST_ERROR, _LEAST_FORCE = 0.02, 1e-5, 1e-4
_LEAST_MEAN = 0.01  # of the force of a muscle that is hardly ever used


class Problem(NamedTuple):
    """min over x >= 0 of sum_t 1/2 |(whitening y_t, 0) - matrix x_t|^2 + sum_j rate_j x_tj.

    Attributes:
        whitening: (K', K').
        matrix: (K' + M, M).
        rate: (M,).
    """

    whitening: Tensor
    matrix: Tensor
    rate: Tensor


@dataclass(frozen=True, eq=False)
class ForceMetric:
    """What inverse dynamics can know of a tracker and of muscles before it sees a recording.

    With y = K^-1 (M c'' + D c' + K c), minimised over F >= 0 is

        1/2 (y - G F)^T R^-1 (y - G F) + a^2 (1/2 w^2 F^T S^-1 F + lambda sum_j F_j / m_j)

    at each frame: G is the response of the face to forces, between K^-1 A of the physics and what simulated people
    show; R is the covariance of the errors that it leaves, S the second moment of the forces, whose mean is put to 0 so
    that it does not pull, and the last term the exponential distribution of each force. The noise share a, 0.4 to 1,
    is the white noise of the recording against that of a noisy tracker: the less there is, the less the forces must be
    guessed, and the less the errors of different shapes are taken to go together (R off the diagonal is times a).

    Attributes:
        shapes, muscles: names of the K' shapes and M muscles.
        response: G (K', M), float64.
        error: R (K', K'), float64.
        second_moment: S (M, M), float64.
        mean: m (M,), float64.
        widening: factor of the posterior's standard deviations, since errors last longer than a frame and G is not
            exact; from simulated people, as ``recovery``.
        recovery: (M,) correlation of each muscle's force with the true one in a person, the median over those who use
            the muscle; below 0.5 face and tracker do not determine the muscle.
    """

    shapes: tuple[str, ...]
    muscles: tuple[str, ...]
    response: Tensor
    error: Tensor
    second_moment: Tensor
    mean: Tensor
    widening: float = 1.0
    recovery: Tensor | None = None

    @property
    def undetermined(self) -> tuple[str, ...]:
        """The muscles that rig and tracker do not determine."""
        if self.recovery is None:
            return ()
        return tuple(m for m, r in zip(self.muscles, self.recovery.tolist(), strict=True) if r < DETERMINED)

    def calibrated(self, forces: Tensor, deviation: Tensor, truth: Tensor) -> ForceMetric:
        """The metric with ``widening`` from forces that it found, their deviation, and the true ones.

        Args:
            forces, deviation, truth: (n, M), the deviation without ``widening``.
        """
        active = (forces > ACTIVE) | (truth > ACTIVE)
        ratio = (truth - forces)[active].abs() / (NORMAL_90 * deviation[active]).clamp_min(_LEAST_ERROR)
        return replace(self, widening=float(np.quantile(ratio.numpy(), _COVERED)) if ratio.numel() else 1.0)

    def with_recovery(self, people: Sequence[tuple[Tensor, Tensor]]) -> ForceMetric:
        """The metric with ``recovery`` from forces that it found and the true ones, both (n, M), of each person."""
        r = torch.stack([person_correlations(self.muscles, *person) for person in people])
        return replace(self, recovery=r.nanmedian(0).values.nan_to_num(0.0))

    def noise(self, missed: Tensor, observed: Tensor) -> Tensor:
        """Size of a recording's errors (...), 1 for those of the simulated people on average.

        Args:
            missed: y - G F (..., T, K').
            observed: (..., T) bool, frames that count.
        """
        white = missed @ torch.linalg.inv(torch.linalg.cholesky(self.error)).mT
        return ((white.square().mean(-1) * observed).sum(-1) / observed.sum(-1)).sqrt()

    def problem(self, share: float = 1.0) -> Problem:
        """The least-squares problem of each frame, for a noise share."""
        own = self.error.diagonal().diag()
        error = own + share * (self.error - own)
        whitening, prior = (torch.linalg.inv(torch.linalg.cholesky(s)) for s in (error, self.second_moment))
        matrix = torch.cat([whitening @ self.response, share * _PRIOR * prior])
        return Problem(whitening, matrix, share**2 * _EXPONENTIAL / self.mean)

    @staticmethod
    def check_physics(config: PhysicsConfig) -> None:
        """Raise ``ValueError`` unless a metric can be of this physics."""
        if config.law != "elastic" or config.force != "fibre":
            raise ValueError('the metric "learned" needs the law "elastic" and fibre forces')

    def check(self, shapes: Sequence[str], muscles: Sequence[str]) -> None:
        """Raise ``ValueError`` unless these are the shapes and muscles of the metric."""
        for what, own, given in (("shapes", self.shapes, tuple(shapes)), ("muscles", self.muscles, tuple(muscles))):
            if own != given:
                raise ValueError(f"the learned metric is of {len(own)} other {what} than the {len(given)} of the model")

    @classmethod
    def estimate(
        cls, shapes: Sequence[str], muscles: Sequence[str], displacement: Tensor, forces: Tensor, response: Tensor
    ) -> ForceMetric:
        """From frames with known forces, each taken twice: as it is and mirrored, so that no side is favoured.

        The response is a ridge regression towards that of the physics: it departs where muscles pull much and often.

        Args:
            shapes, muscles: names of the K' shapes and M muscles.
            displacement: y (n, K'), float64.
            forces: F (n, M), float64.
            response: K^-1 A of the physics (K', M), float64.

        Raises:
            ValueError: a muscle that never pulls, or a shape or a muscle of one side without the other.
        """
        displacement = torch.cat([displacement, displacement[:, mirror_order(shapes)]])
        forces = torch.cat([forces, forces[:, mirror_order(muscles)]])
        mean = forces.mean(0)
        if not bool((mean > 0).all()):
            silent = [name for name, value in zip(muscles, mean.tolist(), strict=True) if not value > 0]
            raise ValueError(
                f"the learned metric knows nothing of {', '.join(silent)}, which simulated people do not use; take "
                "another metric, or leave them out of the table of muscles"
            )
        moment = forces.mT @ forces / len(forces)
        eye = torch.eye(len(moment), dtype=moment.dtype)
        seen = displacement.mT @ forces / len(forces) + _PHYSICS * response
        response = torch.linalg.solve(moment + _PHYSICS * eye, seen.mT).mT
        missed = displacement - forces @ response.mT
        error = missed.mT @ missed / len(missed)
        error = error + (_SHRINKAGE * error.diagonal() + _LEAST_ERROR).diag()
        moment = moment + _LEAST_FORCE * eye
        return cls(tuple(shapes), tuple(muscles), response, error, moment, mean.clamp_min(_LEAST_MEAN))


def person_correlations(muscles: Sequence[str], forces: Tensor, truth: Tensor) -> Tensor:
    """Correlation of found and true forces in one person, the two sides of a muscle together.

    Args:
        muscles: their M names.
        forces, truth: (n, M), found and true.

    Returns:
        (M,): NaN where the true force is never above 0.05, so that the person does not use the muscle; 0 where the
        found force is constant.
    """
    order = mirror_order(muscles)
    pair = torch.stack([torch.cat([each, each[:, order]]) for each in (forces, truth)])
    used = pair[1].amax(0) > ACTIVE
    pair = pair - pair.mean(1, keepdim=True)
    r = (pair[0] * pair[1]).sum(0) / pair.square().sum(1).prod(0).sqrt().clamp_min(1e-12)
    return torch.where(used, r, torch.nan)


def noise_share(motion: Tensor, fps: float, observed: Tensor | None = None) -> float:
    """The noise share a of :class:`ForceMetric` for coefficients as the tracker gives them.

    Args:
        motion: (..., T, K'), sequences of one tracker.
        fps: frames per second.
        observed: (..., T) bool, frames that count; all if not given.

    Returns:
        0.4 to 1; 1 where no three successive frames count, so that nothing is known of the noise.
    """
    noise = white_noise(motion, fps, observed)
    return 1.0 if math.isnan(noise) else min(max(noise / _NOISY, _LEAST_SHARE), 1.0)
