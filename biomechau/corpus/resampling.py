"""Resampling of recorded frames to an even time grid."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

# Largest number of grid frames between two recorded ones, and additionally per recorded frame. 28 minutes at 60 frames
# per second are not a gap in a recording: it is another recording, or a broken time.
LONGEST_GAP = 100_000
_PER_RECORDED = 100


def even_grid(timestamp: Tensor, fps: float) -> NDArray[np.float64]:
    """Evenly spaced times from the first to the last of (T,) [s]; the last one is included if it lies on the grid.

    Raises:
        ValueError: as :func:`check_span`.
    """
    check_span(timestamp, fps)
    start, end = float(timestamp[0]), float(timestamp[-1])
    # A microframe of slack, so that rounding cannot lose the last frame.
    return start + np.arange(math.floor((end - start) * fps + 1e-6) + 1) / fps


def check_span(timestamp: Tensor, fps: float, place: Callable[[int], str] = "frame {}".format) -> None:
    """Check that times can become an even grid, so that a few broken ones do not allocate gigabytes.

    Args:
        timestamp: (T,) increasing [s].
        fps: frame rate of the grid [1/s].
        place: returns where a frame was read, for the message.

    Raises:
        ValueError: a gap, or the whole recording, is implausibly long for its number of frames.
    """
    check_frame_numbers(timestamp * fps, place, lambda count: f" at {fps:g} per second, {count / fps:g} s,")


def check_frame_numbers(
    frames: Tensor, place: Callable[[int], str] = "frame {}".format, rate: Callable[[float], str] = lambda count: ""
) -> None:
    """Like :func:`check_span`, for increasing frame numbers (T,); ``rate`` describes a number of frames in time."""
    if len(frames) < 2:
        return
    steps = frames.double().diff()
    if (longest := float(steps.max())) > LONGEST_GAP:
        raise ValueError(
            f"{place(int(steps.argmax()) + 1)}: {_count(longest)} frames{rate(longest)} after the frame before it, "
            f"expected at most {LONGEST_GAP:,}: correct the times or frame numbers, or split the recording"
        )
    if (span := float(frames[-1] - frames[0])) > LONGEST_GAP + _PER_RECORDED * len(frames):
        raise ValueError(
            f"{place(len(frames) - 1)}: a span of {_count(span)} frames{rate(span)} of which {len(frames)} are there: "
            "correct the times or frame numbers, or split the recording"
        )


def _count(frames: float) -> str:
    """A number of frames; one that no recording has in three digits."""
    return f"{frames:,.0f}" if frames < 1e15 else f"{frames:.3g}"


def nearest_frames(timestamp: Tensor, grid: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
    """The recorded frame nearest to each time of a grid, and whether it is within the tolerance, two of (T',).

    Args:
        timestamp: (T,) of the recorded frames [s].
        grid: (T',) [s].
        tolerance: largest distance in time [s].
    """
    middle = (timestamp[1:] + timestamp[:-1]) / 2
    nearest = torch.bucketize(grid, middle)
    return nearest, (timestamp[nearest] - grid).abs() <= tolerance


def interpolate(
    times: NDArray[np.float64], values: NDArray[np.float32], rate: float, grid: NDArray[np.float64], grid_rate: float
) -> NDArray[np.float32]:
    """Interpolate values (T, C), recorded at about ``rate``, at the evenly spaced times of ``grid`` (T').

    Upsampling is linear interpolation. Downsampling first interpolates linearly to an even grid of about the
    recording's own rate, then applies a zero-phase low-pass filter (windowed sinc, cut-off at half of ``grid_rate``)
    against aliasing. The filter rings at steps, so each channel is clipped to its recorded range. Before the first and
    after the last recorded frame the value is held. The grid starts at or before the first recorded time.
    """
    if not values.shape[1]:
        return np.empty((len(grid), 0), np.float32)
    if grid_rate >= rate:
        return _linear(times, values, grid).astype(np.float32)
    # Imported here because scipy.signal takes half a second to import and only this call needs it.
    from scipy.signal import resample_poly

    # The filter takes a ratio of whole numbers. The even grid has exactly this ratio, so times do not drift.
    ratio = Fraction(rate / grid_rate).limit_denominator(1000)
    own_grid = grid[0] + np.arange(math.ceil(len(grid) * ratio)) / float(grid_rate * ratio)
    even = _linear(times, values, own_grid)
    slow = resample_poly(even, ratio.denominator, ratio.numerator, axis=0, padtype="line")[: len(grid)]
    return slow.clip(values.min(0), values.max(0)).astype(np.float32)


def is_supported(
    times: NDArray[np.float64], rate: float, grid: NDArray[np.float64], max_gap: float
) -> NDArray[np.bool_]:
    """Whether each grid time lies between two recorded times at most ``max_gap`` apart, or half a frame from one."""
    half_frame = 0.5 / rate
    before = np.searchsorted(times, grid + half_frame, side="right") - 1
    after = np.searchsorted(times, grid - half_frame, side="left")
    inside = (before >= 0) & (after < len(times))
    # A recorded time within half a frame counts as both before and after, and the gap is not positive.
    return inside & (times[after.clip(max=len(times) - 1)] - times[before.clip(min=0)] <= max_gap)


def _linear(times: NDArray[np.float64], values: NDArray[np.float32], grid: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.stack([np.interp(grid, times, channel) for channel in values.T], 1)
