"""Replay: data for playing back one sequence on a page, with a coarse face, as stored by ``predict`` and ``forces``."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from biomechau.analysis import CaptureForces, FaceForces, Prediction, RecordingAnalysis, ratio_of_sums
from biomechau.analysis.face_forces import Floats, force_strength
from biomechau.file_errors import naming, quote
from biomechau.json_file import between, entry, is_count, is_text, list_of, parse_json
from biomechau.reports._face_scene import FaceScene
from biomechau.reports._replay_tensors import check_replay_tensors
from biomechau.reports.curves import ForceCurves
from biomechau.tensor_file import open_tensors

FILE = "replay.safetensors"
_FORMAT, _VERSION = "biomechau-replay", "1"
# Frames whose vertex forces are computed at once, which bounds the memory.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Replay:
    """T frames of one face.

    Attributes:
        name: of the sequence.
        scene: the face.
        identifiers: M muscle identifiers.
        action_units: numbers of the R action units; empty if there are only forces.
        force_unit: meaning of a muscle force of 1, in words.
        vertex_force_unit: name and unit of the forces on the vertices.
        residual_of: definition of the residual, in words.
        timestamp: (T,) float64 [s].
        valid: (T,) bool, frames that were recorded.
        coefficients: (T, K') as recorded.
        forces: (T, M) or (T, M, 3) [unit of ``FaceDynamics``]; None without physics.
        motion: (T,) float64, displacement from the neutral face, root mean square over the face [mm]; None without
            physics.
        residual: (T,) float64, displacement that the physics leaves unexplained [mm]; None without physics.
        probabilities: (T, R) p(y = 1); None if there are only forces.
        labels: (T, R) int8 of 1, 0 and -1 (unknown); None if there are none.
        side_probabilities: (T, R, 2), left and right; None if sides are not told.
        paired_units: numbers of the action units of which sides are told.
        thresholds: R probabilities above which the action units are on; empty in files of an older version: 0.5.
        quality: (T,) float64 in [0, 1], how far each frame can be trusted; None in files of an older version.
        deviation: (T, M) float64, standard deviation of each force; None where it is not known.
        undetermined: muscles that face and tracker do not determine, as far as that is known.
    """

    name: str
    scene: FaceScene
    identifiers: tuple[str, ...]
    action_units: tuple[int, ...]
    force_unit: str
    vertex_force_unit: str
    residual_of: str
    timestamp: Tensor
    valid: Tensor
    coefficients: Tensor
    forces: Tensor | None = None
    motion: Tensor | None = None
    residual: Tensor | None = None
    probabilities: Tensor | None = None
    labels: Tensor | None = None
    side_probabilities: Tensor | None = None
    paired_units: tuple[int, ...] = ()
    thresholds: tuple[float, ...] = ()
    quality: Tensor | None = None
    deviation: Tensor | None = None
    undetermined: tuple[str, ...] = ()

    @classmethod
    def of_forces(cls, found: CaptureForces) -> Replay:
        """The replay of forces by inverse dynamics."""
        definition = "the recorded motion minus that of the muscle forces alone"
        replay = cls._of(found, definition, found.motion, found.residual, found.quality)
        return replace(replay, deviation=found.result.deviation, undetermined=found.undetermined)

    @classmethod
    def of_analysis(cls, analysis: RecordingAnalysis) -> Replay:
        """The forces of a recording, and its action units."""
        found, prediction = analysis.found, analysis.prediction
        return replace(cls.of_forces(found), **_of_units(prediction))

    @classmethod
    def of_prediction(cls, prediction: Prediction) -> Replay:
        """The replay of a prediction."""
        slack = " and of the slack" if prediction.ensemble.config.slack else ""
        definition = f"the recorded motion minus that of the predicted muscle forces{slack}"
        if prediction.inverse is not None:
            found = cls.of_forces(prediction.inverse)
        else:
            found = cls._of(prediction.face, definition, prediction.motion, prediction.residual, prediction.quality)
        return replace(found, labels=prediction.labels, **_of_units(prediction))

    @classmethod
    def _of(
        cls,
        face: FaceForces,
        residual_of: str,
        motion: Floats,
        residual: Floats | None,
        quality: Floats,
    ) -> Replay:
        physics: dict[str, Any] = {}
        if residual is not None:
            physics = {
                "forces": face.forces,
                "motion": torch.from_numpy(motion),
                "residual": torch.from_numpy(residual),
            }
        return cls(
            face.sequence.name,
            FaceScene.of(face),
            face.identifiers,
            (),
            face.force_unit,
            face.vertex_force_unit,
            residual_of,
            face.sequence.timestamp,
            face.sequence.valid,
            face.coefficients,
            quality=torch.from_numpy(quality),
            **physics,
        )

    @cached_property
    def strength(self) -> Floats | None:
        """(T, M) force of each muscle, its magnitude where forces are vectors."""
        return None if self.forces is None else force_strength(self.forces)

    def curves(self) -> ForceCurves | None:
        """The forces over time, for figures."""
        if self.strength is None:
            return None
        unit = f"muscle force [{self.force_unit}]"
        return ForceCurves(
            self.timestamp.numpy(),
            self.strength,
            self.identifiers,
            self.valid.numpy(),
            unit,
            deviation=None if self.deviation is None else self.deviation.double().numpy(),
            undetermined=self.undetermined,
        )

    def ratio_of_sums(self) -> dict[str, float | None]:
        """See :func:`biomechau.analysis.ratio_of_sums`; empty without physics."""
        return {} if self.strength is None else ratio_of_sums(self.strength[self.valid.numpy()], self.identifiers)

    def peak_vertex_force(self) -> float:
        """Largest force on a vertex of the coarse face in a valid frame, at least the smallest positive number."""
        peak = 0.0
        if self.forces is not None and self.valid.any():
            parts = self.forces[self.valid].float().split(_CHUNK)
            peak = max(float(self.scene.vertex_force(part).max()) for part in parts)
        return max(peak, float(np.finfo(np.float32).tiny))

    def save(self, path: str | Path) -> None:
        """Write one safetensors file.

        Raises:
            OSError: the file cannot be written.
        """
        tensors = {name: value for name in _TENSORS if (value := getattr(self, name)) is not None}
        tensors |= {f"scene.{name}": value for name, value in self.scene.tensors().items()}
        about = {name: getattr(self, name) for name in _WORDS}
        metadata = {"format": _FORMAT, "version": _VERSION, "about": json.dumps(about)}
        # Not safetensors' save_file, which ignores the umask and does not report failures as OSError.
        Path(path).write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))

    @classmethod
    def load(cls, path: str | Path) -> Replay:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: not such a file, another version, or a tensor of the wrong shape or not finite; the message
                names the file and the tensor.
            OSError: the file cannot be read.
        """
        with open_tensors(path) as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT or metadata.get("version") != _VERSION:
                found = f"{quote(metadata.get('format'))}, version {quote(metadata.get('version'))}"
                raise ValueError(f"expected {_FORMAT!r}, version {_VERSION!r}, found {found}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        with naming(f"{path}: not a whole {_FORMAT}"):
            about = parse_json(metadata.get("about", "null"))
            about = {
                "paired_units": [],
                "thresholds": [],
                "undetermined": [],
                **(about if isinstance(about, dict) else {}),
            }
            words = {name: entry(about, name, *_WORDS[name]) for name in _WORDS}
            words |= {name: tuple(value) for name, value in words.items() if isinstance(value, list)}
            check_replay_tensors(tensors, len(words["identifiers"]), len(words["action_units"]))
            if len(words["thresholds"]) not in (0, len(words["action_units"])):
                raise ValueError("expected a threshold for each action unit, or none")
            scene = {name.removeprefix("scene."): t for name, t in tensors.items() if name.startswith("scene.")}
            found = {name: tensors[name] for name in _TENSORS if name in tensors}
            return cls(**words, **found, scene=FaceScene(**scene))

    def thinned(self, every: int) -> Replay:
        """The replay of every n-th frame."""
        kept = {name: value[::every] for name in _TENSORS if (value := getattr(self, name)) is not None}
        return replace(self, **kept)


def _of_units(prediction: Prediction) -> dict[str, Any]:
    """What a prediction says of action units, by the names of a replay's attributes."""
    return {
        name: getattr(prediction, name)
        for name in ("action_units", "probabilities", "side_probabilities", "paired_units", "thresholds")
    }


# Entries of the metadata: what each must be, in words and as a check.
_TEXT = ("a string", is_text)
_WORDS = {
    "name": _TEXT,
    "identifiers": ("a list of strings", list_of(is_text)),
    "action_units": ("a list of whole numbers", list_of(is_count)),
    "paired_units": ("a list of whole numbers", list_of(is_count)),
    "thresholds": ("a list of numbers in [0, 1]", list_of(between(0, 1))),
    "undetermined": ("a list of strings", list_of(is_text)),
    "force_unit": _TEXT,
    "vertex_force_unit": _TEXT,
    "residual_of": _TEXT,
}
_TENSORS = ("timestamp", "valid", "coefficients", "forces", "motion", "residual", "probabilities", "labels")
_TENSORS += ("side_probabilities", "quality", "deviation")
