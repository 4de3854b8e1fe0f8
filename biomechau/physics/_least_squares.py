"""Regularised least squares over whole sequences, solved to a measured violation of the optimality conditions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

# Iterations between two checks of the optimality conditions, each of which costs one gradient.
_CHECK_EVERY = 10


@dataclass(frozen=True, eq=False)
class Solution:
    """Result of the solver.

    Attributes:
        x: (..., T, M), the minimiser.
        iterations: steps taken.
        gap: largest violation of the optimality (KKT) conditions, as a share of the largest |G^T y|.
        converged: whether the gap fell below the tolerance.
    """

    x: Tensor
    iterations: int
    gap: float
    converged: bool


def smooth_least_squares(
    matrix: Tensor,
    target: Tensor,
    sparsity: Tensor,
    smoothness: float,
    nonnegative: bool,
    observed: Tensor | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = 10000,
    progress: Callable[[int, int], None] | None = None,
    start: Tensor | None = None,
) -> Solution:
    """Minimise 1/2 |y_t - G x_t|^2 + sum_m w_m |x_tm| (Eq. 15) + smoothness/2 |x_t - x_{t-1}|^2 (Eq. 16) over all t.

    Accelerated proximal gradient descent (FISTA) with restarts, all frames and sequences at once. Converges best if
    the columns of G have about unit length.

    Args:
        matrix: G, (R, M).
        target: y, (..., T, R).
        sparsity: w >= 0, (M,).
        smoothness: >= 0.
        nonnegative: constrain x >= 0.
        observed: (..., T) bool, frames whose target counts, all if not given; the others follow from their neighbours.
        tolerance: gap at which to stop.
        max_iterations: maximum number of iterations.
        progress: called with (done, 100), on a logarithmic scale of the gap.
        start: (..., T, M) to begin with, such as the solution of a similar problem; zeros if not given.
    """
    gram = matrix.T @ matrix
    counts = None if observed is None else observed[..., None].to(target.dtype)
    linear = target @ matrix
    if counts is not None:
        linear = linear * counts
    masked = counts if counts is not None and not bool(counts.all()) else None
    x = torch.zeros_like(linear) if start is None else start.clone()
    scale = float(linear.abs().max()) if linear.numel() else 0.0
    if scale == 0:
        return Solution(torch.zeros_like(linear), 0, 0.0, True)
    lipschitz = float(torch.linalg.eigvalsh(gram)[-1]) + 4 * smoothness
    threshold = sparsity / lipschitz

    def gradient(at: Tensor) -> Tensor:
        slope = ((at if masked is None else at * masked) @ gram).sub_(linear)
        if smoothness > 0 and at.shape[-2] > 1:
            step = at.diff(dim=-2).mul_(smoothness)
            slope[..., 1:, :] += step
            slope[..., :-1, :] -= step
        return slope

    def shrink(value: Tensor, by: Tensor) -> Tensor:
        """Overwrites the value: long recordings are bound by memory."""
        if nonnegative:
            return value.sub_(by).clamp_(min=0)
        return value.sign() * value.abs_().sub_(by).clamp_(min=0)

    ahead, momentum, gap, iteration = x, 1.0, math.inf, 0
    while iteration < max_iterations:
        iteration += 1
        new = shrink(torch.add(ahead, gradient(ahead), alpha=-1 / lipschitz), threshold)
        step = new - x
        if float(ahead.sub_(new).mul_(step).sum()) > 0:  # the momentum points uphill: restart
            momentum = 1.0
        grown = (1 + math.sqrt(1 + 4 * momentum**2)) / 2
        ahead = torch.add(new, step, alpha=(momentum - 1) / grown)
        x, momentum = new, grown
        if iteration % _CHECK_EVERY == 0 or iteration == max_iterations:
            gap = float((x - shrink(x - gradient(x), sparsity)).abs().max()) / scale
            if progress is not None:
                progress(min(100, int(100 * math.log(max(gap, tolerance)) / math.log(tolerance))), 100)
            if gap <= tolerance:
                break
    return Solution(x, iteration, gap, gap <= tolerance)
