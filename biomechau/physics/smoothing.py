"""Whittaker smoothing, which removes noise from coefficients before they are differentiated; and how large it is."""

from __future__ import annotations

import math

import numpy as np
import scipy.linalg
import torch
from torch import Tensor

# Weight of a frame that is not valid: negligible beside 1, but it keeps the system regular where few frames are valid.
_TRACE = 1e-6


def whittaker(signal: Tensor, cutoff: float, fps: float) -> Tensor:
    """The z that minimises sum_t (z_t - x_t)^2 + mu sum_t (z_{t+1} - 2 z_t + z_{t-1})^2.

    A low-pass filter without delay: a sine of frequency f keeps 1 / (1 + (sin(pi f / fps) / sin(pi cutoff / fps))^4)
    of its amplitude, half of it at the cutoff; straight lines pass unchanged.

    Args:
        signal: x, (..., T, K) float64, on the CPU.
        cutoff: frequency that loses half its amplitude [Hz]; at or above fps / 2 the signal is returned unchanged.
        fps: frames per second.

    Returns:
        z, shape of the signal.
    """
    num_frames = signal.shape[-2]
    if (mu := _roughness_weight(num_frames, cutoff, fps)) is None:
        return signal
    # Upper bands of I + mu D^T D, D the second difference: three convolutions that stop at the ends.
    banded = np.zeros((3, num_frames))
    banded[2] = 1.0
    for start, weight in enumerate((1.0, -2.0, 1.0)):
        banded[2, start : num_frames - 2 + start] += mu * weight**2
    banded[1, 1:-1] += mu * -2.0
    banded[1, 2:] += mu * -2.0
    banded[0, 2:] = mu
    columns = signal.movedim(-2, 0)
    smooth = scipy.linalg.solveh_banded(banded, columns.flatten(1).numpy(), check_finite=False)
    return torch.from_numpy(smooth).reshape(columns.shape).movedim(0, -2)


def whittaker_masked(signal: Tensor, cutoff: float, fps: float, valid: Tensor | None = None) -> Tensor:
    """:func:`whittaker` on any device and in any precision, for windows: its cost grows with T^3.

    Frames that are not valid do not count in the first sum: they follow from their neighbours.

    Args:
        signal: x, (..., T, K), finite.
        cutoff: frequency that loses half its amplitude [Hz]; at or above fps / 2 the signal is returned as it is.
        fps: frames per second.
        valid: (..., T) bool; all if not given.

    Returns:
        z, shape of the signal.
    """
    num_frames = signal.shape[-2]
    if (mu := _roughness_weight(num_frames, cutoff, fps)) is None:
        return signal
    second = torch.eye(num_frames, dtype=torch.float64, device=signal.device).diff(n=2, dim=0)
    weight = torch.ones_like(second[0]) if valid is None else valid.double().clamp_min(_TRACE)
    system = torch.diag_embed(weight) + mu * second.mT @ second
    smooth = torch.cholesky_solve(weight[..., None] * signal.double(), torch.linalg.cholesky(system))
    return smooth.to(signal.dtype)


def white_noise(signal: Tensor, fps: float, valid: Tensor | None = None) -> float:
    """Standard deviation of a tracker's white noise, as in a recording of 25 frames per second with equal power per Hz.

    From the median size of the second difference in time, to which movement adds little: 0.6745 sqrt(6) standard
    deviations of white noise. The mean over all signals that are not constant.

    Args:
        signal: (..., T, K), finite, T >= 1.
        fps: frames per second.
        valid: (..., T) bool, frames that count; all if not given.

    Returns:
        The deviation in the unit of the signal; NaN where no three successive frames are valid, 0 where nothing moves.
    """
    counts = torch.ones(signal.shape[:-1], dtype=torch.bool) if valid is None else valid
    second = signal.diff(n=2, dim=-2).abs()[counts[..., 2:] & counts[..., 1:-1] & counts[..., :-2]]
    if not len(second):
        return math.nan
    least, most = signal[counts].aminmax(dim=0)
    moving = most > least
    if not bool(moving.any()):
        return 0.0
    return float(second.median(0).values[moving].mean()) / (0.6745 * math.sqrt(6)) * math.sqrt(25 / fps)


def _roughness_weight(num_frames: int, cutoff: float, fps: float) -> float | None:
    """mu of :func:`whittaker`; None if there is nothing to smooth."""
    if cutoff >= fps / 2 or num_frames < 3:
        return None
    return (2 * math.sin(math.pi * cutoff / fps)) ** -4
