"""The simulated coders: the intensity that they see of each action unit, and their errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from biomechau.corpus.simulator._displays import Array

Labels = npt.NDArray[np.int8]

# Share of the frames of BP4D in which each of its action units is on.
BASE_RATES = np.array([0.211, 0.171, 0.203, 0.461, 0.549, 0.594, 0.562, 0.466, 0.169, 0.343, 0.165, 0.151])
THRESHOLD_BOUNDS = (0.10, 0.45)
VISIBILITY = 0.9  # the intensity that coders see follows the command at this share of the tissue's frequency

_THRESHOLD_SPREAD = 0.15  # of one event's threshold, log-normal
_BOUNDARY_JITTER = 3 / 25  # standard deviation of start and end [s]
_MISS, _MISS_WEAK, _WEAK = 0.06, 0.18, 1.4  # probability to miss an event; if its peak is below 1.4 thresholds
_CANDIDATE = 0.5  # an event lasts while the intensity is above this share of the threshold


def thresholds(intensity: Array, label_rate: float = 1.0) -> Array:
    """(R,) intensity above which each action unit is on, such that its rate in frames (F, R) is that of BP4D times a
    factor, within bounds."""
    rates = label_rate * BASE_RATES
    quantiles = [np.quantile(column, 1 - rate) for column, rate in zip(intensity.T, rates, strict=True)]
    return np.clip(np.array(quantiles), *THRESHOLD_BOUNDS)


def clean_labels(intensity: Array, threshold: Array) -> Labels:
    """1 where the intensity (T, R, ...) is above the threshold (R, ...), else 0."""
    return (intensity > threshold).astype(np.int8)


def coded_labels(intensity: Array, threshold: Array, fps: float, rng: np.random.Generator) -> Labels:
    """(T, R) labels 0 and 1 of coders whose threshold varies between events, who misjudge their start and end, and miss
    some.

    Args:
        intensity: (T, R) visible intensity.
        threshold: (R,) mean threshold of the coders.
        fps: frames per second [1/s].
        rng: of the sequence.
    """
    labels = np.zeros(intensity.shape, np.int8)
    for column, limit in enumerate(threshold):
        seen = intensity[:, column]
        for begin, end in _runs(seen > _CANDIDATE * limit):
            own_limit = limit * np.exp(_THRESHOLD_SPREAD * rng.standard_normal())
            for first, last in _runs(seen[begin:end] > own_limit) + begin:
                weak = seen[first:last].max() < _WEAK * limit
                missed = rng.random() < (_MISS_WEAK if weak else _MISS)
                jitter = np.rint(_BOUNDARY_JITTER * fps * rng.standard_normal(2)).astype(int)
                if not missed:
                    labels[max(first + jitter[0], 0) : max(last + jitter[1], 0), column] = 1
    return labels


def _runs(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """(n, 2) first index of each run of True, and the index after its last one."""
    change = np.diff(np.concatenate([[0], mask.astype(np.int64), [0]]))
    return np.stack([np.flatnonzero(change > 0), np.flatnonzero(change < 0)], 1)
