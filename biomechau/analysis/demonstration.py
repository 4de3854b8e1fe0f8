"""The demonstration: a scripted performance with known muscle forces, and their recovery by inverse dynamics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from biomechau.analysis.capture_forces import CaptureForces, analyse
from biomechau.corpus import FaceSequence
from biomechau.physics import FaceDynamics, PhysicsConfig
from biomechau.rig import Distribution, FaceRig

NOISE = 0.02  # standard deviation of the errors of a good tracker [coefficient]
DURATION = 8.0  # [s]
ONSET, OFFSET = 0.3, 0.45  # time that an expression takes to come and to go [s]


@dataclass(frozen=True)
class Expression:
    """One expression of the performance.

    Attributes:
        name: in everyday words.
        start, stop: its beginning and end [s].
        forces: full force of each muscle [1 = holds the full expression]; a name without a side means both sides.
    """

    name: str
    start: float
    stop: float
    forces: Mapping[str, float]


PERFORMANCE = (
    Expression(
        "smile",
        0.3,
        1.9,
        {
            "zygomaticus_major_left": 0.9,
            "zygomaticus_major_right": 0.7,
            "orbicularis_oculi_orbitalis": 0.6,
            "levator_labii_superioris": 0.25,
        },
    ),
    Expression("blink", 1.75, 2.35, {"orbicularis_oculi_pretarsalis": 0.9}),
    Expression(
        "brow raise", 2.0, 3.2, {"frontalis_medialis": 0.9, "frontalis_lateralis": 0.8, "levator_palpebrae": 0.7}
    ),
    Expression(
        "frown",
        3.1,
        4.4,
        {"corrugator_supercilii": 0.9, "depressor_anguli_oris": 0.7, "orbicularis_oculi_palpebralis": 0.4},
    ),
    Expression("pucker", 4.3, 5.4, {"incisivii_labii": 0.9, "orbicularis_oris_peripheralis": 0.2}),
    Expression(
        "jaw opening", 5.3, 6.5, {"digastric": 0.8, "depressor_labii_inferioris": 0.3, "frontalis_medialis": 0.3}
    ),
    Expression(
        "sneer",
        6.4,
        7.6,
        {
            "levator_labii_alaeque_nasi_left": 0.9,
            "levator_labii_alaeque_nasi_right": 0.35,
            "buccinator_left": 0.5,
            "corrugator_supercilii": 0.3,
        },
    ),
)


@dataclass(frozen=True)
class Recovery:
    """How well one muscle's force was recovered.

    Attributes:
        identifier: the muscle.
        peak: of the true force; 0 for an inactive muscle.
        correlation: r of recovered and true force over time; None for an inactive muscle.
        relative_error: |recovered - true| / |true| over time; None for an inactive muscle.
        recovered_peak: peak of the recovered force.
    """

    identifier: str
    peak: float
    correlation: float | None
    relative_error: float | None
    recovered_peak: float


@dataclass(frozen=True, eq=False)
class Demonstration:
    """The recovered forces and the known ones.

    Attributes:
        found: inverse dynamics of the noisy coefficients.
        truth: (T, M) the forces that caused the motion.
        recoveries: by muscle.
    """

    found: CaptureForces
    truth: Tensor
    recoveries: tuple[Recovery, ...]

    @property
    def moments(self) -> dict[str, float]:
        """The middle of each sustained expression [s]."""
        return {e.name: 0.5 * (e.start + e.stop) for e in PERFORMANCE if e.name != "blink"}

    def median(self, what: str) -> float:
        """Median of ``"correlation"`` or ``"relative_error"`` over the active muscles."""
        return float(np.median([value for r in self.recoveries if (value := getattr(r, what)) is not None]))

    def summary(self) -> dict[str, Any]:
        """The entry of the recovery in ``summary.json``."""
        return {
            "noise": NOISE,
            "median_correlation": self.median("correlation"),
            "median_relative_error": self.median("relative_error"),
            "muscles": {
                r.identifier: {
                    "peak": r.peak,
                    "recovered_peak": r.recovered_peak,
                    "correlation": r.correlation,
                    "relative_error": r.relative_error,
                }
                for r in self.recoveries
            },
        }


def performance(identifiers: tuple[str, ...], fps: float) -> Tensor:
    """The scripted forces (T, M), float32: smooth, at rest at both ends.

    Args:
        identifiers: M muscles.
        fps: frames per second.
    """
    time = torch.arange(1, round(DURATION * fps) + 1, dtype=torch.float64) / fps
    forces = torch.zeros(len(time), len(identifiers), dtype=torch.float64)
    for column, identifier in enumerate(identifiers):
        name = identifier.removesuffix("_left").removesuffix("_right")
        for expression in PERFORMANCE:
            full = expression.forces.get(identifier, expression.forces.get(name, 0.0))
            forces[:, column] += full * _rise(time, expression.start, ONSET) * _rise(-time, -expression.stop, OFFSET)
    return forces.float()


def demonstrate(
    num_vertices: int = 5000, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> Demonstration:
    """Move the built-in face by known forces, add tracker noise, and recover the forces by inverse dynamics.

    The same physical model is used in both directions, so the scores are an upper bound for real faces.

    Args:
        num_vertices: of the built-in face, 1,000 to 50,000.
        seed: of the noise.
        progress: called with (done, total) while solving.

    Raises:
        ValueError: ``num_vertices`` out of range.
    """
    rig = FaceRig.builtin(num_vertices)
    config = PhysicsConfig()
    dynamics = FaceDynamics(rig, Distribution.from_rig(rig), config)
    truth = performance(dynamics.muscles.names, config.fps)
    rest = truth.new_zeros(dynamics.num_shapes)
    motion, _ = dynamics.rollout(truth, rest, rest)
    noise = torch.randn(motion.shape, generator=torch.Generator().manual_seed(seed))
    sequence = FaceSequence(
        name="demo",
        coefficients=motion + NOISE * noise,
        channels=dynamics.shape_names,
        timestamp=torch.arange(len(motion), dtype=torch.float64) / config.fps,
        valid=torch.ones(len(motion), dtype=torch.bool),
        fps=config.fps,
        source="scripted performance of the built-in face",
    )
    found = analyse(sequence, rig, config, progress=progress)
    return Demonstration(found, truth, recover(truth.double().numpy(), found.strength, found.identifiers))


def recover(
    truth: npt.NDArray[np.float64], found: npt.NDArray[np.float64], identifiers: tuple[str, ...]
) -> tuple[Recovery, ...]:
    """Compare recovered with true forces, both (T, M), muscle by muscle."""
    recoveries = []
    for column, identifier in enumerate(identifiers):
        true, other = truth[:, column], found[:, column]
        correlation = error = None
        if true.any():
            error = float(np.linalg.norm(other - true) / np.linalg.norm(true))
            # A force that is missed completely has no variance.
            correlation = float(np.corrcoef(true, other)[0, 1]) if np.ptp(other) > 0 else 0.0
        recoveries.append(Recovery(identifier, float(true.max()), correlation, error, float(other.max())))
    return tuple(recoveries)


def _rise(time: Tensor, start: float, duration: float) -> Tensor:
    """0 before ``start``, 1 after ``start + duration``, smooth in between."""
    x = ((time - start) / duration).clamp(0.0, 1.0)
    return x * x * (3.0 - 2.0 * x)
