"""Prediction: the action units and muscle forces of a recording according to trained detectors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from biomechau.analysis._quality import QUALITY, frame_quality
from biomechau.analysis._summary import describe_forces, describe_input
from biomechau.analysis.background import Background
from biomechau.analysis.capture_forces import CaptureForces
from biomechau.analysis.ensemble import Ensemble
from biomechau.analysis.face_forces import FaceForces, Floats
from biomechau.corpus import FaceSequence
from biomechau.rig.action_unit_names import SIDE_NAMES, column_name
from biomechau.rig.names import ChannelMap
from biomechau.training.metrics import action_unit_scores

# Forces of a muscle at rest and at work, and the share of frames from which a unit is flagged.
_SILENT, _PULLING, FLAGGED = 0.2, 0.6, 0.1
THRESHOLDS = (
    "an action unit is on where its probability is above its threshold, which has the highest F1 on the validation "
    "subjects of the training and is drawn towards 0.5 where these are few; the mean over the folds; 0.5 in runs of an "
    "older version, which have none"
)
DISAGREEMENT = (
    f"share of the valid frames in which an action unit is on while no muscle of it pulls with {_SILENT:g}, or off "
    f"while one pulls with more than {_PULLING:g}; flagged above {FLAGGED:g}"
)


@dataclass(frozen=True, eq=False)
class Prediction:
    """Action units and muscle forces of T frames, averaged over the folds.

    Attributes:
        ensemble: the detectors of the folds.
        sequence: the recording, at the frame rate of the detectors. Frames that are not valid are interpolated: their
            values are no measurements.
        channels: how its channels drive the shapes of the rig.
        coefficients: of the detectors' shapes, as recorded, (T, K').
        neutral: coefficients of the neutral face, subtracted from them, (K').
        probabilities: p(y = 1), (T, R).
        forces: muscle forces [unit of ``FaceDynamics``], (T, M) or (T, M, 3); None without physics.
        reconstructed: c~, the motion of the decoder in windows as long as those of the training, to compare with
            ``coefficients - neutral``, (T, K'); a window starts with the last frame of the previous one, and the very
            first frame is given. None without physics.
        labels: 1, 0 and -1 (unknown), (T, R); None if there are none.
        subject: the recorded person, if known.
        trained_on: folds that used this subject for training.
        inverse: the forces by inverse dynamics, which are shown where they are given (:func:`with_inverse_forces`);
            those of the detectors are shown otherwise.
        side_probabilities: p(y = 1) on the left and the right side, (T, R, 2), the same for units of the middle; None
            if the detectors do not tell sides.
        intensities, side_intensities: 0 to 5 of the I action units ``intensity_units``, (T, I) and (T, I, 2); None if
            the detectors do not say them.
    """

    ensemble: Ensemble
    sequence: FaceSequence
    channels: ChannelMap
    coefficients: Tensor
    neutral: Tensor
    probabilities: Tensor
    forces: Tensor | None
    reconstructed: Tensor | None = None
    labels: Tensor | None = None
    subject: str | None = None
    trained_on: tuple[int, ...] = ()
    side_probabilities: Tensor | None = None
    intensities: Tensor | None = None
    side_intensities: Tensor | None = None
    inverse: CaptureForces | None = None

    @property
    def folds(self) -> tuple[int, ...]:
        """Numbers of the folds."""
        return self.ensemble.folds

    @property
    def action_units(self) -> tuple[int, ...]:
        """Numbers of the R action units."""
        return self.ensemble.config.action_units

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Probability above which each action unit is on."""
        return self.ensemble.thresholds

    @property
    def paired_units(self) -> tuple[int, ...]:
        """Numbers of the action units of which left and right are told apart."""
        return self.ensemble.paired_units

    @property
    def intensity_units(self) -> tuple[int, ...]:
        """Numbers of the I action units of which intensities are said."""
        return self.ensemble.config.intensity_units or ()

    def probability_of(self) -> dict[str, Floats]:
        """p(y = 1) (T,) by column: ``AU12`` for either side and, if sides are told, ``AU12_left``, ``AU12_right``."""
        return self._columns(self.action_units, self.probabilities, self.side_probabilities)

    def intensity_of(self) -> dict[str, Floats]:
        """Intensity (T,) from 0 to 5 by column, as :meth:`probability_of`; empty if the detectors do not say it."""
        return self._columns(self.intensity_units, self.intensities, self.side_intensities)

    def _columns(self, units: tuple[int, ...], whole: Tensor | None, sides: Tensor | None) -> dict[str, Floats]:
        columns: dict[str, Floats] = {}
        if whole is None:
            return columns
        for r, unit in enumerate(units):
            columns[column_name(unit)] = whole[:, r].double().numpy()
            if sides is not None and unit in self.paired_units:
                both = sides[:, r].double().numpy()
                columns |= {column_name(unit, side): both[:, i] for i, side in enumerate(SIDE_NAMES)}
        return columns

    @property
    def has_forces(self) -> bool:
        """Whether there are muscle forces to show."""
        return self.inverse is not None or self.forces is not None

    @cached_property
    def face(self) -> FaceForces:
        """The face and the muscle forces that are shown; they are 0 if there are none."""
        if self.inverse is not None:
            return self.inverse
        own, forces = self.ensemble, self.forces
        if forces is None:
            forces = self.coefficients.new_zeros(len(self.coefficients), *own.dynamics.projection.shape[1:])
        return FaceForces(
            own.rig, own.distribution, own.dynamics, self.sequence, self.channels, self.coefficients, forces
        )

    @property
    def on(self) -> npt.NDArray[np.bool_]:
        """(T, R) whether each action unit is on: its probability is above its threshold."""
        return self.probabilities.double().numpy() > np.array(self.thresholds)

    @property
    def motion(self) -> Floats:
        """(T,) displacement of the recorded face from the neutral one, root mean square over the face [mm]."""
        if self.inverse is not None:
            return self.inverse.motion
        return self.face.distance(self.coefficients - self.neutral)

    @property
    def residual(self) -> Floats | None:
        """(T,) difference of the recorded and the reconstructed face, root mean square [mm]; None without forces."""
        if self.inverse is not None:
            return self.inverse.residual
        if self.reconstructed is None:
            return None
        return self.face.distance(self.coefficients - self.neutral - self.reconstructed)

    @cached_property
    def quality(self) -> Floats:
        """(T,) how far each frame can be trusted, 0 to 1; see :data:`biomechau.analysis._quality.QUALITY`."""
        return frame_quality(self.sequence, self.motion, self.residual)

    @cached_property
    def background(self) -> Background:
        """Whom the detectors were trained on, and what they reached on others."""
        return Background.of(self.ensemble)

    def force_disagreement(self) -> dict[int, float | None]:
        """Share of the valid frames in which each action unit and the forces of its muscles contradict each other.

        The unit is on while none of its muscles pulls with 0.2, or off while one pulls with more than 0.6 [unit of the
        expression]. None without fibre forces, and where the rig has no muscle of the unit.
        """
        found: dict[int, float | None] = dict.fromkeys(self.action_units)
        if not self.has_forces or self.face.forces.ndim != 2:
            return found
        valid = self.sequence.valid.numpy()
        for column, unit in enumerate(self.action_units):
            own = [m for m, muscle in enumerate(self.face.distribution.muscles) if unit in muscle.action_units]
            if own and valid.any():
                force = self.face.strength[valid][:, own].max(1)
                on = self.on[valid, column]
                found[unit] = float(((on & (force < _SILENT)) | (~on & (force > _PULLING))).mean())
        return found

    def _measured(self, unit: int) -> bool | None:
        """Whether a channel drives a shape of one of the unit's muscles; None where the rig has no such muscle."""
        muscles = [muscle for muscle in self.ensemble.distribution.muscles if unit in muscle.action_units]
        missing = set(self.channels.missing_shapes)
        return any(not missing.issuperset(muscle.shapes) for muscle in muscles) if muscles else None

    def scores(self) -> dict[str, Any] | None:
        """F1 of this sequence alone, by action unit; None without labels."""
        if self.labels is None:
            return None
        units, own = self.action_units, self.thresholds
        scores = action_unit_scores(self.probabilities, self.labels, units, self.sequence.valid, own)
        return {"mean_f1": scores.mean_f1, "action_units": [asdict(unit) for unit in scores.units]}

    def summary(self) -> dict[str, Any]:
        """The contents of ``summary.json``, as JSON values."""
        config, valid = self.ensemble.config, self.sequence.valid.numpy()
        disagrees, on = self.force_disagreement(), self.on[valid]
        columns, strong = (
            {name: values[valid] for name, values in found.items()}
            for found in (self.probability_of(), self.intensity_of())
        )
        shown, time = self.probabilities.double().numpy()[valid], self.sequence.timestamp.numpy()[valid]
        return {
            **describe_input(self.face),
            "folds": list(self.folds),
            "combined": "mean of the probabilities and forces of the folds" if len(self.folds) > 1 else "one fold",
            "subject": self.subject,
            "folds_trained_on_the_subject": list(self.trained_on),
            "head": config.head,
            "source": config.source,
            "threshold_definition": THRESHOLDS,
            "neutral": dict(zip(self.ensemble.dynamics.shape_names, self.neutral.tolist(), strict=True)),
            "action_units": {
                column_name(unit): {
                    "mean": float(shown[:, column].mean()),
                    "peak": float(shown[:, column].max()),
                    "time_of_peak": float(time[shown[:, column].argmax()]),
                    "threshold": self.thresholds[column],
                    "share_on": float(on[:, column].mean()),
                    "sides": {
                        side: _on_side(columns[name], self.thresholds[column])
                        for side in SIDE_NAMES
                        if (name := column_name(unit, side)) in columns
                    },
                    "intensity": _intensity(strong.get(column_name(unit))),
                    "test_f1": self.background.test_f1.get(unit),
                    "measured": self._measured(unit),
                    "disagrees_with_force": disagrees[unit],
                    "flagged": (disagrees[unit] or 0) > FLAGGED,
                }
                for column, unit in enumerate(self.action_units)
            },
            "disagreement_definition": DISAGREEMENT,
            "training": self.background.summary(),
            "labels": self.scores(),
            "quality": float(self.quality.mean()),
            "quality_definition": QUALITY,
            "forces_by": "the detectors" if self.inverse is None else "inverse dynamics",
            **(describe_forces(self.face) if self.has_forces else {}),
        }


def _intensity(values: Floats | None) -> dict[str, float] | None:
    """What the summary says of the intensity of a unit."""
    return None if values is None else {"mean": float(values.mean()), "peak": float(values.max())}


def _on_side(probabilities: Floats, threshold: float) -> dict[str, float]:
    """What the summary says of one side of a unit, which has the unit's threshold."""
    return {
        "mean": float(probabilities.mean()),
        "peak": float(probabilities.max()),
        "share_on": float((probabilities > threshold).mean()),
    }
