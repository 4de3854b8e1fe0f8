"""Inverse dynamics of a motion while it happens."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from biomechau.physics._fit_problem import EquationOfMotion, FitProblem
from biomechau.physics.force_metric import ForceMetric, noise_share
from biomechau.physics.physics_config import DELAY, LIVE, LONGEST_DELAY, InverseOptions

# How far back the window reaches, in time constants of the forces and of the low-pass filter, and at most [s]: what is
# older is forgotten.
_TIME_CONSTANTS, _LONGEST_MEMORY = 10.0, 2.0
# The time constant of the filter is this share of the period of its cutoff, 1 / (pi sqrt(2)).
_OF_PERIOD = 1 / (math.pi * math.sqrt(2))
# Differences need so many frames.
_FEWEST = 3


class CausalInverse:
    """Muscle forces from the frames so far: those of a frame are given a stated delay after it, and then final.

    What :func:`biomechau.physics.inverse_dynamics` minimises over a whole recording is minimised over a window of the
    last second or so, starting from the solution at the frame before. The longer the delay, the nearer the forces are
    to those of the whole recording. A motion of which frames are missing is two motions: :meth:`finish` the first.

    Args:
        dynamics: the model.
        options: of the fit, :data:`biomechau.physics.physics_config.LIVE` if not given. There is no percentile of the
            frames to come.
        delay: between a frame and its forces [s], 0 to 0.2; rounded to whole frames.
        dt: time step [s]; that of the model if not given.
        learned: the metric "learned", where the options ask for it.

    Attributes:
        delay_frames: the delay in frames.
        window_frames: most frames in the window.
        neutral: (K',) float64, the neutral face that is subtracted from every frame; zeros until it is set.

    Raises:
        ValueError: the delay is out of range, the options ask for a percentile, dt is not positive, or the metric
            "learned" without one that fits the model.
    """

    def __init__(
        self,
        dynamics: EquationOfMotion,
        options: InverseOptions | None = None,
        delay: float = DELAY,
        dt: float | None = None,
        learned: ForceMetric | None = None,
    ) -> None:
        options = LIVE if options is None else options
        if not 0 <= delay <= LONGEST_DELAY:
            raise ValueError(f"delay must lie in [0, {LONGEST_DELAY}] s, got {delay}")
        if options.neutral is not None:
            raise ValueError("neutral must be None: a percentile needs the whole recording")
        self._dynamics, self._problem = dynamics, FitProblem(dynamics, options, dt, learned)
        self.delay_frames = round(delay * self._problem.fps)
        cutoff = self._problem.cutoff
        filtered = 0.0 if cutoff is None else _OF_PERIOD / cutoff
        memory = min(_TIME_CONSTANTS * (options.smoothness + filtered), _LONGEST_MEMORY)
        self.window_frames = self.delay_frames + max(_FEWEST, math.ceil(memory * self._problem.fps))
        self.neutral = torch.zeros(dynamics.num_shapes, dtype=torch.float64)
        self._start()

    def _start(self) -> None:
        self._window = self.neutral.new_empty(0, len(self.neutral))
        self._unknowns: Tensor | None = None
        self._due = 0

    def push(self, c: Tensor) -> Tensor:
        """Take the next frame, or several at once, and solve.

        Args:
            c: coefficients of the shapes ``dynamics.shape_names``, shape (K',) or (n, K').

        Returns:
            Forces (m, M) or (m, M, 3) of the frames whose delay is over now, in order and with the dtype and the device
            of c; m is 1 for one frame, and 0 while there are no more than ``delay_frames`` frames.

        Raises:
            TypeError, ValueError: c has another dtype or shape than the model, or is not finite.
        """
        self._dynamics.check("c", c, (len(self.neutral),))
        if c.ndim > 2:
            size = len(self.neutral)
            raise ValueError(f"c must have shape ({size},) or (n, {size}), got {tuple(c.shape)}")
        if not bool(torch.isfinite(c).all()):
            raise ValueError("c must be finite")
        ready = [self._empty()]
        # So few at a time that the first of them still has most of the window before it.
        part = max(1, (self.window_frames - self.delay_frames) // 4)
        for frames in c.detach().reshape(-1, len(self.neutral)).split(part):
            if not len(frames):
                break
            with torch.inference_mode():
                self._window = torch.cat([self._window, frames.cpu().double()])[-self.window_frames :]
                self._solve(len(frames))
            self._due += len(frames)
            ready += self._forces(self._due - self.delay_frames)
        return torch.cat(ready).to(c)

    def finish(self) -> Tensor:
        """Forces of the frames whose delay is not over, (n, M) or (n, M, 3), n <= ``delay_frames``; then start anew.

        The neutral face stays. The last of them rest on fewer frames after them than usual.
        """
        forces = torch.cat([self._empty(), *self._forces(self._due)])
        self._start()
        return forces.to(self._dynamics.projection)

    def _solve(self, count: int) -> None:
        motion = self._window - self.neutral
        if len(motion) < _FEWEST:  # at rest before it began
            motion = torch.cat([motion[:1].expand(_FEWEST - len(motion), -1), motion])
        before = self._problem.scale
        self._problem.weigh(noise_share(self._window, self._problem.fps))
        aim = self._problem.aim(self._problem.required_force(self._problem.smoothed(motion)))
        start = self._unknowns
        if start is not None:
            start = torch.cat([start, start[-1:].expand(count, -1)])[-len(aim) :]
            start = start * (self._problem.scale / before) if len(start) == len(aim) else None
        self._unknowns = self._problem.solve(aim, start=start).x

    def _forces(self, count: int) -> list[Tensor]:
        """Of the first frames that are due, each (1, M) or (1, M, 3)."""
        found = []
        for _ in range(count):
            assert self._unknowns is not None
            forces = self._unknowns[len(self._unknowns) - self._due] / self._problem.scale
            found.append(forces.reshape(1, *self._dynamics.projection.shape[1:]))
            self._due -= 1
        return found

    def _empty(self) -> Tensor:
        return self.neutral.new_empty(0, *self._dynamics.projection.shape[1:])
