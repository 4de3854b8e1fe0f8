"""Muscle forces of a recording by inverse dynamics, and what they leave unexplained."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from biomechau.analysis._quality import QUALITY, frame_quality
from biomechau.analysis._summary import describe_forces, describe_input
from biomechau.analysis.face_forces import FaceForces, Floats
from biomechau.corpus import FaceSequence
from biomechau.corpus.calibration import NeutralSource
from biomechau.corpus.driving import drive
from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, InverseResult, PhysicsConfig, inverse_dynamics
from biomechau.physics.force_metric import NEUTRAL
from biomechau.physics.rollout_windows import rollout_windows
from biomechau.rig import Distribution, FaceRig, Muscles

# Frames per window in the setting of the paper.
_NEWTON_WINDOW = 16
# What is further than this [s] from every recorded frame is not solved for: skin forgets within a third of it.
_AROUND_GAP = 1.0
# Coefficients of blendshapes run from 0 to 1; trackers and fits go a little beyond.
_USUAL_RANGE = (-0.3, 1.5)
# Share of the motion that forces explain at least where rig and recording fit.
_EXPLAINED = 0.5
# Change of a coefficient below which a shape does not move.
_STILL = 0.01


@dataclass(frozen=True, eq=False)
class CaptureForces(FaceForces):
    """The muscle forces of one sequence by inverse dynamics.

    Attributes:
        options: of the inverse dynamics.
        result: the forces, and what they do not explain.
        warnings: messages about what was left out or did not converge.
        undetermined: muscles that face and tracker do not determine, as far as the metric "learned" knows.
        neutral_face: where the neutral face is from, in words; None if nothing was subtracted.
    """

    options: InverseOptions
    result: InverseResult
    warnings: tuple[str, ...]
    undetermined: tuple[str, ...] = ()
    neutral_face: str | None = None

    @property
    def deviation(self) -> Floats | None:
        """(T, M) standard deviation of each force, where it was asked for [unit of ``FaceDynamics``]."""
        return None if self.result.deviation is None else self.result.deviation.double().numpy()

    @cached_property
    def reconstructed(self) -> Tensor:
        """The motion that follows from the muscle forces alone, to compare with ``result.coefficients``, (T, K').

        Under the law ``newton`` errors accumulate, so the motion is restarted every 16 frames, like the windows of the
        paper; the first frame is given.
        """
        dynamics, c = self.dynamics, self.result.coefficients
        length = len(c) if dynamics.config.law == "elastic" else _NEWTON_WINDOW
        frames = rollout_windows(len(c), length)
        start, rate = dynamics.initial_state(c[frames])
        acting = frames[:, 1:] if dynamics.config.scheme == "implicit" else frames[:, :-1]
        moved, _ = dynamics.rollout(self.forces[acting], start, rate)
        rebuilt = c.clone()
        for window, motion in zip(frames, moved, strict=True):
            rebuilt[window[1:]] = motion
        return rebuilt

    @property
    def motion(self) -> Floats:
        """(T,) displacement of the inverted motion from the neutral face, root mean square over the face [mm]."""
        return self.distance(self.result.coefficients)

    @property
    def residual(self) -> Floats:
        """(T,) displacement that the muscle forces leave unexplained, root mean square over the face [mm]."""
        return self.distance(self.result.coefficients - self.reconstructed)

    @cached_property
    def quality(self) -> Floats:
        """(T,) how far each frame can be trusted, 0 to 1; see :data:`biomechau.analysis._quality.QUALITY`."""
        return frame_quality(self.sequence, self.motion, self.residual)

    def summary(self) -> dict[str, Any]:
        """The contents of ``summary.json``, as JSON values.

        ``residual_share`` is the share of the squared displacement in the fit that the forces do not explain,
        ``slack_share`` that of shapes that belong to no muscle and were left out of the fit. ``rank``,
        ``null_space_dimension`` and ``condition`` tell how well the forces are determined, see
        :class:`biomechau.physics.InverseResult`.
        """
        result, about = self.result, describe_input(self)
        about["channels"]["shapes_without_muscle"] = list(result.slack_shapes)
        return {
            **about,
            "inverse": self.options.used(),
            "neutral_face": self.neutral_face,
            **describe_forces(self),
            "quality": float(self.quality.mean()),
            "quality_definition": QUALITY,
            "residual_share": 1.0 - float(result.explained),
            "slack_share": float(result.slack_share),
            "rank": result.rank,
            "unknowns": int(np.prod(result.forces.shape[1:])),
            "null_space_dimension": len(result.null_space),
            "condition": result.condition,
            "converged": result.converged,
            "not_determined": list(self.undetermined),
            "warnings": list(self.warnings),
        }


def analyse(
    sequence: FaceSequence,
    rig: FaceRig,
    config: PhysicsConfig | None = None,
    options: InverseOptions | None = None,
    muscles: Muscles | None = None,
    progress: Callable[[int, int], None] | None = None,
    learned: ForceMetric | None = None,
    neutral: NeutralSource | None = None,
    deviation: bool = False,
) -> CaptureForces:
    """Muscle forces of a recording by inverse dynamics on a rig, without training.

    Args:
        sequence: the recording; it is resampled to ``config.fps``.
        rig: the face whose shapes its channels drive.
        config: the physical model.
        options: of the inverse dynamics.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
        progress: called with (done, total) while solving.
        learned: the metric "learned", where the options ask for it; see :func:`learn_metric`.
        neutral: where the neutral face is that is subtracted, instead of a percentile of this recording
            (``options.neutral``, which must be None then).
        deviation: also the standard deviation of each force, by the metric "learned".

    Raises:
        ValueError: no channel drives a shape, fewer than 3 frames, a coefficient that is not finite, no face where the
            neutral face should be, a deviation by another metric.
    """
    config = PhysicsConfig() if config is None else config
    options = InverseOptions() if options is None else options
    if options.metric == "learned" and neutral is None and options.neutral is None:
        options = replace(options, neutral=NEUTRAL)
    if neutral is not None and options.neutral is not None:
        raise ValueError("options.neutral must be None where neutral is given")
    source = NeutralSource(options.neutral) if neutral is None and options.neutral is not None else neutral
    sequence, channels, coefficients = drive(sequence, rig, config.fps)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        distribution = Distribution.from_rig(rig, muscles)
        dynamics = FaceDynamics(rig, distribution, config)
        coefficients = coefficients[:, dynamics.shape_indices]
        near = _near(sequence.valid, round(_AROUND_GAP * config.fps))
        at_rest = None if neutral is None else neutral.neutral(sequence, rig)[dynamics.shape_indices]
        result = inverse_dynamics(
            dynamics, coefficients[near], None, options, progress, sequence.valid[near], learned, deviation, at_rest
        )
        result = replace(
            result,
            forces=_spread(result.forces, near),
            residual=_spread(result.residual, near),
            coefficients=_spread(result.coefficients, near),
            deviation=None if result.deviation is None else _spread(result.deviation, near),
        )
    doubts = [
        _range_doubt(coefficients[sequence.valid]),
        _still_doubt(coefficients[sequence.valid]),
        _cutoff_doubt(options, config.fps),
        _explained_doubt(float(result.explained)),
        source.doubt(sequence) if source is not None else "",
    ]
    if doubts[-1] and options.metric == "learned":
        doubts[-1] += "; the learned metric takes a percentile where nothing else is said"
    notes = (*sequence.notes, *(str(entry.message) for entry in caught), *filter(None, doubts))
    about = source.words() if source is not None else None
    undetermined = () if learned is None else learned.undetermined
    return CaptureForces(
        rig,
        distribution,
        dynamics,
        sequence,
        channels,
        coefficients,
        result.forces,
        options,
        result,
        notes,
        undetermined,
        about,
    )


def _range_doubt(coefficients: Tensor) -> str:
    """A warning about coefficients (T, K') far outside the range of blendshapes; empty if there is no doubt."""
    least, most = float(coefficients.min()), float(coefficients.max())
    if _USUAL_RANGE[0] <= least and most <= _USUAL_RANGE[1]:
        return ""
    return f"coefficients go from {least:.2g} to {most:.2g}, those of blendshapes from 0 to 1: the forces are in doubt"


def _still_doubt(coefficients: Tensor) -> str:
    """A warning about coefficients (T, K') that do not change; empty if there is no doubt."""
    if float((coefficients.amax(0) - coefficients.amin(0)).max()) >= _STILL:
        return ""
    return f"no shape moves by {_STILL}: forces of a face at rest say little"


def _cutoff_doubt(options: InverseOptions, fps: float) -> str:
    """A warning that the low-pass filter does nothing; empty if there is no doubt."""
    if options.metric == "learned" or options.cutoff is None or options.cutoff < fps / 2:
        return ""
    return f"the cutoff of {options.cutoff:g} Hz is not below half the frame rate, {fps / 2:g} Hz: nothing is smoothed"


def _explained_doubt(explained: float) -> str:
    """A warning that the forces explain little of the motion; empty if there is no doubt."""
    if explained >= _EXPLAINED:
        return ""
    return f"the forces explain {max(explained, 0):.0%} of the motion of the muscles' shapes: they are in doubt"


def _near(valid: Tensor, margin: int) -> Tensor:
    """(T,) frames within ``margin`` frames of a valid one."""
    near = torch.nn.functional.max_pool1d(valid.float()[None], 2 * margin + 1, stride=1, padding=margin)
    return near[0] > 0


def _spread(values: Tensor, kept: Tensor) -> Tensor:
    """Values of the kept frames among those of all T frames, which are 0."""
    if kept.all():
        return values
    spread = values.new_zeros(len(kept), *values.shape[1:])
    spread[kept] = values
    return spread
