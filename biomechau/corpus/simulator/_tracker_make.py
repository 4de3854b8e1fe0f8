"""Random kinds of trackers: smoothing, delay, rounding, dead channels and lost frames."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from biomechau.corpus.simulator._displays import Array

_NOISE_SPREAD, _NOISE_BOUNDS = 0.5, (0.3, 2.5)  # log-normal
_CROSSTALK = (0.0, 1.5)
_WITHOUT = 0.4  # probability to have no smoothing, no delay, no rounding, no lost frames: each independently
_SMOOTHING, _DELAY = (0.02, 0.10), (0.0, 0.12)  # [s]
_STEPS = (0.004, 0.01, 0.02, 0.05)
_DEAD = 0.8  # channels, on average
_LOST, _LOST_RUN = (0.0, 0.12), 0.2  # share of the frames; mean length of a gap [s]


@dataclass(frozen=True)
class TrackerMake:
    """One kind of tracker; the defaults have no effect.

    Attributes:
        noise: factor of the noise in coefficients.
        crosstalk: factor of the cross-talk between shapes.
        smoothing: time constant of its low-pass filter [s].
        delay: of all channels [s].
        step: to which values are rounded; 0 for no rounding.
        dead: positions of the channels that are always 0.
        lost: share of the frames in which it loses the face.
    """

    noise: float = 1.0
    crosstalk: float = 1.0
    smoothing: float = 0.0
    delay: float = 0.0
    step: float = 0.0
    dead: tuple[int, ...] = ()
    lost: float = 0.0

    @classmethod
    def draw(cls, num_channels: int, rng: np.random.Generator) -> TrackerMake:
        """A random tracker with this number of channels."""
        noise = float(np.clip(np.exp(_NOISE_SPREAD * rng.standard_normal()), *_NOISE_BOUNDS))
        crosstalk = rng.uniform(*_CROSSTALK)
        smoothing, delay, step, lost = rng.random(4) >= _WITHOUT
        values = rng.uniform(*_SMOOTHING), rng.uniform(*_DELAY), float(rng.choice(_STEPS)), rng.uniform(*_LOST)
        dead = rng.choice(num_channels, min(rng.poisson(_DEAD), num_channels), replace=False)
        return cls(
            noise=noise,
            crosstalk=crosstalk,
            smoothing=values[0] if smoothing else 0.0,
            delay=values[1] if delay else 0.0,
            step=values[2] if step else 0.0,
            dead=tuple(sorted(dead.tolist())),
            lost=values[3] if lost else 0.0,
        )

    def to_json(self, channels: tuple[str, ...]) -> dict[str, Any]:
        """All fields as JSON values, with dead channels by name."""
        return {**asdict(self), "dead": [channels[position] for position in self.dead]}

    def deliver(self, seen: Array, fps: float, rng: np.random.Generator) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Apply its faults to coefficients (T, K); return them with a mask (T,) that is False in lost frames."""
        if self.smoothing:
            decay = np.exp(-1 / (self.smoothing * fps))
            start = decay * seen[:1]
            seen = np.asarray(lfilter([1 - decay], [1, -decay], seen, axis=0, zi=start)[0])
        if self.delay:
            frames = np.arange(len(seen), dtype=np.float64)
            seen = np.stack([np.interp(frames - self.delay * fps, frames, column) for column in seen.T], 1)
        if self.step:
            seen = self.step * np.rint(seen / self.step)
        if self.dead:
            seen = seen.copy()
            seen[:, list(self.dead)] = 0
        valid = np.ones(len(seen), bool)
        if self.lost:
            valid = ~self._gaps(len(seen), fps, rng)
        if not valid.all():
            last = np.maximum.accumulate(np.where(valid, np.arange(len(seen)), valid.argmax()))
            seen = seen[last]
        return seen, valid

    def _gaps(self, num_frames: int, fps: float, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
        """(T,) True in lost frames: gaps of random start and length; at least one frame is never lost."""
        mean = max(_LOST_RUN * fps, 1.0)
        lost = np.zeros(num_frames, bool)
        for start in np.flatnonzero(rng.random(num_frames) < self.lost / mean):
            lost[start : start + rng.geometric(1 / mean)] = True
        if lost.all():
            lost[rng.integers(num_frames)] = False
        return lost


AS_SEEN = TrackerMake()
