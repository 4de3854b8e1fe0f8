"""Muscle forces of a face while its frames arrive, on an even grid of time, with a stated delay."""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.analysis.face_forces import FaceModel
from biomechau.corpus.face_sequence import MAX_GAP
from biomechau.corpus.live_frames import LiveFrame
from biomechau.physics import CausalInverse, FaceDynamics, ForceMetric, InverseOptions, PhysicsConfig
from biomechau.physics.physics_config import DELAY
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.rig.names import shortened

# Without a frame for this long [s] the face is lost; the network may hold packets back for a moment.
SILENCE = 0.25
# A frame this much earlier than the one before it [s] is not late: the sender's clock has been set. Nor is it right if
# it is this far from the clock of this computer.
_CLOCK_SET = 1.0
# How far the sender's clock may drift from that of this computer [s].
_DRIFT = 0.5
# Frames that are missing are given up this late [s], after any that may still come.
_GIVEN_UP = _DRIFT + SILENCE
# The neutral face is the median of this long [s], and at least of this many frames.
AT_REST, _FEWEST = 1.0, 10
# A frame of the grid takes the recorded one this near to it [frames], where it lies between no two.
_NEAR = 0.5
# Positions on the grid are told apart no better than this [frames].
_ROUNDING = 1e-3

Floats = NDArray[np.float32]


class LiveResult(NamedTuple):
    """One frame of the grid.

    Attributes:
        frame: its number, from 0.
        timestamp: frame / fps, since the first frame [s].
        recorded_frame: the sender's number of the frame; None if none is near.
        coefficients: (K',) of the shapes of the model, as recorded; None where no face was recorded.
        forces: (M,) or (M, 3) [unit of ``FaceDynamics``]; None where no face was recorded.
    """

    frame: int
    timestamp: float
    recorded_frame: int | None
    coefficients: Floats | None
    forces: Floats | None


@dataclass
class LiveCounts:
    """What has arrived: frames with a face, frames without, late or repeated ones, and times the face was lost."""

    frames: int = 0
    faceless: int = 0
    late: int = 0
    lost: int = 0


class LiveForces:
    """Forces of frames that arrive one by one, late, twice or never.

    Frames are put on an even grid as :meth:`biomechau.corpus.FaceSequence.resample` does: interpolated between two that
    are at most 0.1 s apart. Whatever lies in a longer gap has no forces, and after it the inverse starts anew. A frame
    that is earlier than the one before it is left out, unless the sender's clock has been set back by a second.

    Args:
        rig: the face.
        channels: C names, of the values of the frames.
        config: the physical model; the grid has its frame rate.
        options: of the inverse; :data:`biomechau.physics.physics_config.LIVE` if not given.
        delay: see :class:`biomechau.physics.CausalInverse`.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
        learned: the metric "learned", where the options ask for it.

    Attributes:
        model: the face.
        delay: in whole frames [s].
        counts: what has arrived.
        notes: what was left out of the face, in words.

    Raises:
        ValueError: no channel drives a shape, or as :class:`biomechau.physics.CausalInverse`.
    """

    def __init__(
        self,
        rig: FaceRig,
        channels: Sequence[str],
        config: PhysicsConfig | None = None,
        options: InverseOptions | None = None,
        delay: float = DELAY,
        muscles: Muscles | None = None,
        learned: ForceMetric | None = None,
    ) -> None:
        config = PhysicsConfig() if config is None else config
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            distribution = Distribution.from_rig(rig, muscles)
            self.model = FaceModel(rig, distribution, FaceDynamics(rig, distribution, config))
        self.notes = tuple(str(entry.message) for entry in caught)
        dynamics = self.model.dynamics
        self._map = rig.map_channels(channels).matrix[:, dynamics.shape_indices]
        if not self._map.any():
            raise ValueError(
                f"none of the {len(channels)} channels drives a shape of the rig; channels {shortened(channels)}, "
                f"shapes {shortened(rig.names)}"
            )
        self._inverse = CausalInverse(dynamics, options, delay, learned=learned)
        self._fps = config.fps
        self.delay = self._inverse.delay_frames / config.fps
        self.counts = LiveCounts()
        # Since the first frame: its arrival, what is added to the sender's time, and the next position on the grid.
        self._began: float | None = None
        self._offset: float | None = None
        self._next = 0
        self._last: LiveFrame | None = None
        self._pending: deque[tuple[int, int | None, Tensor]] = deque()
        self._recent: deque[tuple[float, Tensor]] = deque()

    def add(self, frame: LiveFrame) -> list[LiveResult]:
        """Take a frame; return the frames of the grid whose forces are final now, in order."""
        if self._began is None:
            self._began = frame.arrival
        if frame.values is None:
            self.counts.faceless += 1
            return self.wait(frame.arrival)
        ready: list[LiveResult] = []
        if self._last is not None:
            step = frame.time - self._last.time
            if -_CLOCK_SET < step <= 0:
                self.counts.late += 1
                return []
            if not 0 < step <= MAX_GAP + _ROUNDING / self._fps or self._drift(frame) > _CLOCK_SET:
                ready = self._lose()
        self.counts.frames += 1
        coefficients = torch.from_numpy(frame.values) @ self._map
        self._recent.append((frame.arrival, coefficients))
        while frame.arrival - self._recent[0][0] > AT_REST:
            self._recent.popleft()
        if self._last is None:
            ready += self._begin(frame)
        position = (frame.time + (self._offset or 0.0)) * self._fps
        between = []
        while self._next <= position + (_NEAR if self._last is None else _ROUNDING):
            between.append(self._between(frame, coefficients, position))
            self._next += 1
        ready += self._put(between)
        self._last, self._last_position, self._last_coefficients = frame, position, coefficients
        return ready

    def wait(self, arrival: float) -> list[LiveResult]:
        """Nothing has arrived until a time by the clock of this computer [s]; return as :meth:`add`."""
        ready: list[LiveResult] = []
        if self._began is None:
            return ready
        if self._last is not None and arrival - self._last.arrival > SILENCE:
            ready = self._lose()
        if self._last is None:
            ready += self._empty(math.floor((arrival - self._began - _GIVEN_UP) * self._fps))
        return ready

    def finish(self) -> list[LiveResult]:
        """The frames whose delay is not over, at the end of all."""
        forces = self._inverse.finish()
        ready = [self._result(*pending, force) for pending, force in zip(self._pending, forces, strict=True)]
        self._pending.clear()
        self._last = None
        return ready

    def calibrate(self) -> bool:
        """Take the median of the last second for the neutral face, which is subtracted from now on.

        Returns:
            Whether there was a face in it; if not, nothing changes.
        """
        if self._last is None or len(self._recent) < _FEWEST:
            return False
        self._inverse.neutral = torch.stack([c for _, c in self._recent]).median(0).values.double()
        return True

    def _lose(self) -> list[LiveResult]:
        self.counts.lost += 1
        ready: list[LiveResult] = []
        if self._last is not None and self._next <= self._last_position + _NEAR:
            ready += self._put([(self._next, self._last.number, self._last_coefficients)])
            self._next += 1
        ready += self.finish()
        self._recent.clear()
        return [*ready, *self._empty(self._next + 1)]  # at once, so that nobody takes the last forces for those of now

    def _begin(self, frame: LiveFrame) -> list[LiveResult]:
        """Where on the grid a frame is that none precedes; return the empty frames before it."""
        if self._offset is None or self._drift(frame) > _DRIFT:
            expected = frame.arrival - (self._began or 0.0)
            self._offset = max(self._next, round(expected * self._fps)) / self._fps - frame.time
        return self._empty(math.ceil((frame.time + self._offset) * self._fps - _NEAR))

    def _drift(self, frame: LiveFrame) -> float:
        """How far the sender's clock is from that of this computer [s]."""
        return abs(frame.time + (self._offset or 0.0) - (frame.arrival - (self._began or 0.0)))

    def _between(self, frame: LiveFrame, coefficients: Tensor, position: float) -> tuple[int, int | None, Tensor]:
        """The next frame of the grid, between the last frame and this one: number, sender's number, coefficients."""
        before = self._last
        if before is None:
            return self._next, frame.number, coefficients
        step = position - self._last_position
        share = min(max((self._next - self._last_position) / step, 0.0), 1.0)
        near, distance = (before, share) if share < 0.5 else (frame, 1 - share)
        number = near.number if distance * step <= _NEAR + _ROUNDING else None
        return self._next, number, torch.lerp(self._last_coefficients, coefficients, share)

    def _put(self, frames: list[tuple[int, int | None, Tensor]]) -> list[LiveResult]:
        if not frames:
            return []
        self._pending += frames
        forces = self._inverse.push(torch.stack([coefficients for _, _, coefficients in frames]))
        return [self._result(*self._pending.popleft(), force) for force in forces]

    def _empty(self, end: int) -> list[LiveResult]:
        """Frames without a face up to a position on the grid."""
        first, self._next = self._next, max(self._next, end)
        return [LiveResult(frame, frame / self._fps, None, None, None) for frame in range(first, self._next)]

    def _result(self, frame: int, number: int | None, coefficients: Tensor, forces: Tensor) -> LiveResult:
        return LiveResult(frame, frame / self._fps, number, coefficients.numpy(), forces.numpy())
