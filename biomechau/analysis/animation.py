"""Motion from muscle forces: the way back from forces to the face."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import torch
from torch import Tensor

from biomechau.analysis.face_forces import Floats
from biomechau.corpus.face_sequence import LARGEST_COEFFICIENT
from biomechau.file_errors import quote
from biomechau.physics import FaceDynamics
from biomechau.rig import FaceRig, Muscles
from biomechau.rig.names import ARKIT_SHAPES, canonical, map_channels, mirror_order, shortened

# What a table for ARKit loses below this, a hundredth of an expression, is not worth a word.
_SEEN = 0.01


def animate(dynamics: FaceDynamics, forces: Tensor) -> Tensor:
    """The motion that follows from muscle forces, starting at rest: c(0) .. c(T-1) from F(0) .. F(T-1).

    It is the inverse of :func:`biomechau.analyse`, whose forces it turns back into the motion that they explain. As
    there, the force of a frame acts at the end of the step to this frame (scheme ``implicit``), so that rest lies one
    step before the first frame, or at the beginning of the step from it (``semi_implicit``, ``explicit``), so that the
    first frame is at rest. Differentiable.

    Args:
        dynamics: the model; its ``config.fps`` is the frame rate of the forces.
        forces: muscle forces, shape (..., T, M), or (..., T, M, 3) for ``vector`` [unit of ``FaceDynamics``].

    Returns:
        Coefficients of the shapes ``dynamics.shape_names``, shape (..., T, K').

    Raises:
        TypeError: forces of another dtype than the model.
        ValueError: forces of the wrong shape or device, without frames, not finite, or negative for ``fibre`` forces
            (frame and muscle are named).
    """
    dynamics.check("forces", forces, dynamics.force_shape)
    time = forces.ndim - len(dynamics.force_shape) - 1
    if time < 0 or not forces.shape[time]:
        last = ", ".join(map(str, dynamics.force_shape))
        raise ValueError(f"forces must have shape (..., T, {last}) with T >= 1, got {tuple(forces.shape)}")
    fibre = dynamics.config.force == "fibre"
    wrong = ~torch.isfinite(forces) | (forces < 0) if fibre else ~torch.isfinite(forces)
    if bool(wrong.any()):
        where = wrong.nonzero()[0].tolist()
        expected = "finite and not negative" if fibre else "finite"
        muscle = dynamics.muscles.names[where[time + 1]]
        raise ValueError(f"forces must be {expected}, got {forces[tuple(where)]:g} at frame {where[time]}, {muscle}")
    rest = forces.new_zeros(*forces.shape[:time], dynamics.num_shapes)
    if dynamics.config.scheme == "implicit":
        return dynamics.rollout(forces, rest, rest)[0]
    first = rest.unsqueeze(-2)
    if forces.shape[time] == 1:
        return first
    return torch.cat([first, dynamics.rollout(forces.narrow(time, 0, forces.shape[time] - 1), rest, rest)[0]], -2)


def mirrored(forces: Tensor, muscles: Muscles, left: Tensor) -> Tensor:
    """Forces with left and right exchanged.

    Args:
        forces: (..., M) or (..., M, 3).
        muscles: the M muscles.
        left: (3,) the subject's left, of length 1: vectors are reflected along it (:attr:`biomechau.FaceRig.axes`).

    Raises:
        ValueError: a muscle without its counterpart on the other side.
    """
    order = mirror_order(muscles.names)
    if forces.shape[-1] == len(muscles):
        return forces[..., order]
    left = left.to(forces)
    exchanged = forces[..., order, :]
    return exchanged - 2 * (exchanged @ left)[..., None] * left


def with_gains(forces: Tensor, muscles: Muscles, gains: Mapping[str, float]) -> Tensor:
    """Forces (T, M) or (T, M, 3) with those of some muscles multiplied.

    Raises:
        ValueError: an unknown muscle, or a gain that is negative or not finite.
    """
    factor = forces.new_ones(len(muscles))
    for name, gain in gains.items():
        if name not in muscles.names:
            close = get_close_matches(name, muscles.names, 1)
            hint = f"did you mean {close[0]}?" if close else f"it has {shortened(muscles.names)}"
            raise ValueError(f"gain of {quote(name)}: no muscle of the rig; {hint}")
        if not (math.isfinite(gain) and gain >= 0):
            raise ValueError(f"gain of {name} must be finite and not negative, got {gain:g}")
        factor[muscles.names.index(name)] = gain
    return forces * factor.reshape(-1, *[1] * (forces.ndim - 2))


@dataclass(frozen=True, eq=False)
class Animation:
    """A rig in motion.

    Attributes:
        rig: the face.
        coefficients: (T, K) of all its shapes.
        fps: frame rate [1/s]; frame n is at n / fps seconds.
    """

    rig: FaceRig
    coefficients: Tensor
    fps: float

    @classmethod
    def of(cls, rig: FaceRig, dynamics: FaceDynamics, motion: Tensor) -> Animation:
        """The animation of the motion (T, K') of a model of the rig; shapes that the model dropped stay 0.

        Raises:
            ValueError: a coefficient that is not finite or exceeds 10 (shape and frame are named).
        """
        wrong = ~(motion.abs() <= LARGEST_COEFFICIENT)
        if bool(wrong.any()):
            frame, shape = wrong.nonzero()[0].tolist()
            drift = "; under the law newton errors add up over time" if dynamics.config.law == "newton" else ""
            raise ValueError(
                f"the forces move {dynamics.shape_names[shape]} to {float(motion[frame, shape]):.3g} at frame {frame}, "
                f"expected at most {LARGEST_COEFFICIENT:g}, ten times a full expression: are they in another unit, or "
                f"made with other physics?{drift}"
            )
        coefficients = motion.new_zeros(len(motion), rig.num_shapes)
        coefficients[:, dynamics.shape_indices] = motion
        return cls(rig, coefficients, dynamics.config.fps)

    def __len__(self) -> int:
        return len(self.coefficients)

    def vertices(self, frame: int) -> Floats:
        """(N, 3) the face at a frame [cm]."""
        return (self.rig.neutral + torch.tensordot(self.coefficients[frame], self.rig.blendshapes, 1)).double().numpy()

    def arkit(self) -> tuple[Floats, tuple[str, ...]]:
        """(T, 52) coefficients of ``ARKIT_SHAPES``, and what they cannot hold, in words.

        A shape that ARKit does not split, such as ``browInnerUp``, gets the mean of the rig's two halves.
        """
        channels = map_channels(self.rig.names, ARKIT_SHAPES)
        values = (self.coefficients @ channels.matrix.to(self.coefficients)).double().numpy()
        index = {canonical(name): k for k, name in enumerate(self.rig.names)}
        notes = []
        for name in ARKIT_SHAPES:
            halves = [index.get(f"{canonical(name)}_{side}") for side in "lr"]
            if None not in halves and canonical(name) not in index:
                gap = float((self.coefficients[:, halves[0]] - self.coefficients[:, halves[1]]).abs().max())
                if gap > _SEEN:
                    notes.append(
                        f"{name} has no sides in ARKit: the mean of left and right is written, which differ by up to "
                        f"{gap:.2g}"
                    )
        peak = self.coefficients.abs().amax(0)
        if lost := [name for name in channels.unused_channels if float(peak[self.rig.names.index(name)]) > _SEEN]:
            notes.append(f"shapes that ARKit lacks, left out: {shortened(lost, 8)}")
        return np.asarray(values), tuple(notes)
