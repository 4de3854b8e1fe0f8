"""Error bars of forces: samples of their posterior distribution, with no force below 0."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_BURN_IN, _SAMPLES = 20, 80  # sweeps
# Below this mean, in standard deviations, a normal distribution above 0 is exponential to within a hundredth.
_FAR = -8.0


def posterior_deviation(
    matrix: Tensor,
    target: Tensor,
    rate: Tensor,
    smoothness: float,
    start: Tensor,
    observed: Tensor,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Standard deviation of x in the density whose negative logarithm ``smooth_least_squares`` minimises over x >= 0.

    Gibbs sampling from the minimiser on: one component at a time, of all even and then of all odd frames, which given
    each other are independent. The same for the same input.

    Args:
        matrix: G (R, M), columns of about unit length.
        target: y (..., T, R).
        rate: w >= 0 (M,).
        smoothness: >= 0.
        start: the minimiser (..., T, M).
        observed: (..., T) bool, frames whose target counts.
        progress: called with (done, total).

    Returns:
        (..., T, M).
    """
    generator = torch.Generator().manual_seed(0)
    x = start.float()
    counts = observed[..., None].float()
    gram = (matrix.mT @ matrix).float()
    linear = (target @ matrix).float() * counts - rate.float()
    num_frames = x.shape[-2]
    neighbours = torch.full((num_frames, 1), 2.0)
    neighbours[0] -= 1
    neighbours[-1] -= 1
    total = square = torch.zeros_like(x)
    for sweep in range(_BURN_IN + _SAMPLES):
        for parity in (0, 1):
            frames = torch.arange(parity, num_frames, 2)
            beside = torch.zeros_like(x)
            beside[..., 1:, :] += x[..., :-1, :]
            beside[..., :-1, :] += x[..., 1:, :]
            pull = linear[..., frames, :] + smoothness * beside[..., frames, :]
            own, seen, near = x[..., frames, :], counts[..., frames, :], smoothness * neighbours[frames]
            for j in range(len(gram)):
                precision = (seen * gram[j, j] + near).clamp_min(1e-6)[..., 0]
                others = (own @ gram[j]) - own[..., j] * gram[j, j]
                mean = (pull[..., j] - seen[..., 0] * others) / precision
                own[..., j] = _above_zero(mean, precision.rsqrt(), generator)
            x[..., frames, :] = own
        if sweep >= _BURN_IN:
            total, square = total + x, square + x.square()
        if progress is not None:
            progress(sweep + 1, _BURN_IN + _SAMPLES)
    variance = square / _SAMPLES - (total / _SAMPLES).square()
    return variance.clamp_min(0).sqrt().to(start)


def _above_zero(mean: Tensor, deviation: Tensor, generator: torch.Generator) -> Tensor:
    """A sample of each normal distribution restricted to values above 0."""
    share = torch.rand(mean.shape, generator=generator).clamp(1e-7, 1 - 1e-7)
    distance = mean / deviation
    near = -torch.special.ndtri(share.double() * torch.special.ndtr(distance.clamp_min(_FAR).double()))
    far = -share.log() / -distance.clamp_max(_FAR)
    return deviation * torch.where(distance > _FAR, near.float() + distance, far).clamp_min(0)
