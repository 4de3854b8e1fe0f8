"""RecordingAnalysis: muscle forces and action units of one recording, without training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from biomechau.analysis.capture_forces import CaptureForces, analyse
from biomechau.analysis.detection import predict
from biomechau.analysis.ensemble import Ensemble
from biomechau.analysis.prediction import Prediction
from biomechau.corpus import FaceSequence
from biomechau.corpus.calibration import NeutralSource
from biomechau.physics import ForceMetric, InverseOptions, PhysicsConfig
from biomechau.rig import FaceRig, Muscles

# What the summary takes from that of the prediction.
_OF_UNITS = ("action_units", "threshold_definition", "folds", "training", "disagreement_definition")


@dataclass(frozen=True, eq=False)
class RecordingAnalysis:
    """Results for one recording: forces by inverse dynamics, action units by a detector.

    Attributes:
        found: the forces.
        prediction: the action units at the same frames, beside the same forces.
    """

    found: CaptureForces
    prediction: Prediction

    def summary(self) -> dict[str, Any]:
        """The contents of ``summary.json``: that of the forces, and the action units."""
        units = self.prediction.summary()
        return {**self.found.summary(), **{name: units[name] for name in _OF_UNITS}}


def analyse_recording(
    sequence: FaceSequence,
    rig: FaceRig,
    ensemble: Ensemble,
    options: InverseOptions | None = None,
    muscles: Muscles | None = None,
    learned: ForceMetric | None = None,
    neutral: NeutralSource | None = None,
    deviation: bool = False,
) -> RecordingAnalysis:
    """Muscle forces and action units of a recording, both at the frame rate of the detector.

    Args:
        sequence: the recording.
        rig: the face whose shapes its channels drive, for the forces; the detector has its own.
        ensemble: the detector.
        options: of the inverse dynamics.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
        learned: the metric "learned", where the options ask for it.
        neutral: where the person's neutral face is; a percentile concerns the forces alone, because a detector keeps to
            the calibration that it was trained with.
        deviation: also the standard deviation of each force, by the metric "learned".

    Raises:
        ValueError: as :func:`analyse` and :func:`predict`.
    """
    config = PhysicsConfig(fps=ensemble.config.physics.fps)
    at_rest = neutral if neutral is not None and neutral.percentile is None else None
    found = analyse(sequence, rig, config, options, muscles, None, learned, neutral, deviation)
    return RecordingAnalysis(found, replace(predict(ensemble, sequence, neutral=at_rest), inverse=found))
