"""The learned metric of inverse dynamics: the errors of trackers and the habits of muscles, from simulated people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from biomechau.rig.names import mirror_order

# Of the inverse that uses the metric: percentile of the neutral face, and cutoff of the low-pass filter [Hz].
NEUTRAL, CUTOFF = 10.0, 4.0
# Correlation with the true force from which on a muscle is determined.
DETERMINED = 0.5
# Force from which on a muscle is active, for the coverage of intervals; standard deviations to either side of 90 %.
ACTIVE, NORMAL_90 = 0.05, 1.645
# Share of the active forces of simulated people, the noisiest there are, in their intervals of 90 %: other people's
# errors are less like those that last, and more of them are covered.
_COVERED = 0.85
# Weight of the forces' second moment, and of the exponential term of each muscle. Chosen on simulated people.
_PRIOR, _EXPONENTIAL = 0.3, 0.1
# Added to the covariances so that they can be inverted: a share of the diagonal, and an absolute variance.
_SHRINKAGE, _LEAST_ERROR, _LEAST_FORCE = 0.02, 1e-5, 1e-4
_LEAST_MEAN = 0.01  # of the force of a muscle that is hardly ever used


class Problem(NamedTuple):
    """min over x >= 0 of sum_t 1/2 |target_t - matrix x_t|^2 + sum_j rate_j x_tj.

    Attributes:
        matrix: (K' + M, M).
        target: (..., T, K' + M).
        rate: (M,).
    """

    matrix: Tensor
    target: Tensor
    rate: Tensor


@dataclass(frozen=True, eq=False)
class ForceMetric:
    """What inverse dynamics can know of a tracker and of muscles before it sees a recording.

    With y = K^-1 (M c'' + D c' + K c) and G = K^-1 A, minimised over F >= 0 is

        1/2 (y - G F)^T R^-1 (y - G F) + 1/2 w^2 F^T S^-1 F + lambda sum_j F_j / m_j

    at each frame: R is the covariance of the tracker's errors, S the second moment of the forces, whose mean is put to
    0 so that it does not pull, and the last term the exponential distribution of each force. G stays the physics.

    Attributes:
        shapes, muscles: names of the K' shapes and M muscles.
        error: R (K', K'), float64.
        second_moment: S (M, M), float64.
        mean: m (M,), float64.
        widening: factor of the posterior's standard deviations, since errors last longer than a frame and G is not
            exact; from simulated people, as ``recovery``.
        recovery: (M,) correlation of each muscle's force with the true one; below 0.5 face and tracker do not determine
            the muscle.
    """

    shapes: tuple[str, ...]
    muscles: tuple[str, ...]
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
        """The metric with ``widening`` and ``recovery`` from forces that it found, their deviation, and the true ones.

        Args:
            forces, deviation, truth: (n, M), the deviation without ``widening``.
        """
        active = (forces > ACTIVE) | (truth > ACTIVE)
        ratio = (truth - forces)[active].abs() / (NORMAL_90 * deviation[active]).clamp_min(_LEAST_ERROR)
        order = mirror_order(self.muscles)
        pair = torch.stack([torch.cat([x, x[:, order]]) for x in (forces, truth)])
        pair = pair - pair.mean(1, keepdim=True)
        product = (pair[0] * pair[1]).sum(0) / pair.square().sum(1).prod(0).sqrt().clamp_min(1e-12)
        widening = float(np.quantile(ratio.numpy(), _COVERED)) if ratio.numel() else 1.0
        return replace(self, widening=widening, recovery=product)

    def noise(self, missed: Tensor, observed: Tensor) -> Tensor:
        """Size of a recording's errors (...), 1 for those of the simulated people on average.

        Args:
            missed: y - G F (..., T, K').
            observed: (..., T) bool, frames that count.
        """
        white = missed @ torch.linalg.inv(torch.linalg.cholesky(self.error)).mT
        return ((white.square().mean(-1) * observed).sum(-1) / observed.sum(-1)).sqrt()

    def problem(self, displacement: Tensor, response: Tensor) -> Problem:
        """The least-squares problem of y (..., T, K') and G (K', M)."""
        whitening, prior = (torch.linalg.inv(torch.linalg.cholesky(s)) for s in (self.error, self.second_moment))
        seen = displacement @ whitening.mT
        nothing = seen.new_zeros(*seen.shape[:-1], len(prior))
        matrix = torch.cat([whitening @ response, _PRIOR * prior])
        return Problem(matrix, torch.cat([seen, nothing], -1), _EXPONENTIAL / self.mean)

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

        Args:
            shapes, muscles: names of the K' shapes and M muscles.
            displacement: y (n, K'), float64.
            forces: F (n, M), float64.
            response: G (K', M), float64.

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
        missed = displacement - forces @ response.mT
        error = missed.mT @ missed / len(missed)
        error = error + (_SHRINKAGE * error.diagonal() + _LEAST_ERROR).diag()
        moment = forces.mT @ forces / len(forces)
        moment = moment + _LEAST_FORCE * torch.eye(len(moment), dtype=moment.dtype)
        return cls(tuple(shapes), tuple(muscles), error, moment, mean.clamp_min(_LEAST_MEAN))
