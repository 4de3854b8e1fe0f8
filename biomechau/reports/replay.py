"""Replay: one sequence as a page plays it back, with a coarse face; what ``predict`` and ``forces`` leave for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from biomechau.analysis import CaptureForces, FaceForces, Prediction, asymmetry
from biomechau.analysis.face_forces import Floats, force_strength
from biomechau.reports.curves import ForceCurves
from biomechau.reports.face_scene import FaceScene

FILE = "replay.safetensors"
_FORMAT, _VERSION = "biomechau-replay", "1"
# Frames whose vertex forces are computed at once, for the memory they take.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Replay:
    """T frames of one face.

    Attributes:
        name: of the sequence.
        scene: the face.
        identifiers: M muscle identifiers.
        action_units: numbers of the R action units; none where only forces were sought.
        force_unit: what a muscle force of 1 is, in words.
        vertex_force_unit: name and unit of the forces on the vertices.
        residual_of: what the residual is the error of, in words.
        timestamp: (T,) float64 [s].
        valid: (T,) bool, frames that were captured.
        coefficients: (T, K') as captured.
        forces: (T, M) or (T, M, 3) [unit of ``FaceDynamics``]; None without physics.
        motion: (T,) float64, displacement from the neutral face, root mean square over the face [mm]; None without
            physics.
        residual: (T,) float64, that of what the physics leaves unexplained [mm]; None without physics.
        probabilities: (T, R) p(y = 1); None where only forces were sought.
        labels: (T, R) int8 of 1, 0 and -1 (unknown); None where there are none.
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

    @classmethod
    def of_forces(cls, found: CaptureForces) -> Replay:
        """The forces of a capture."""
        words = "the recorded motion less that of the muscle forces alone"
        return cls._of(found, words, found.motion, found.residual)

    @classmethod
    def of_prediction(cls, prediction: Prediction) -> Replay:
        """What detectors say of a recording."""
        slack = " and of the slack" if prediction.ensemble.config.slack else ""
        return cls._of(
            prediction.face,
            f"the recorded motion less that of the predicted muscle forces{slack}",
            prediction.motion,
            prediction.residual,
            prediction.action_units,
            prediction.probabilities,
            prediction.labels,
        )

    @classmethod
    def _of(
        cls,
        face: FaceForces,
        residual_of: str,
        motion: Floats,
        residual: Floats | None,
        action_units: tuple[int, ...] = (),
        probabilities: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Replay:
        physics: dict[str, Tensor] = {}
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
            action_units,
            face.force_unit,
            face.vertex_force_unit,
            residual_of,
            face.sequence.timestamp,
            face.sequence.valid,
            face.coefficients,
            probabilities=probabilities,
            labels=labels,
            **physics,
        )

    @cached_property
    def strength(self) -> Floats | None:
        """(T, M) force of each muscle, its magnitude where forces are vectors."""
        return None if self.forces is None else force_strength(self.forces)

    def curves(self) -> ForceCurves | None:
        """What figures show of the forces over time."""
        if self.strength is None:
            return None
        unit = f"muscle force [{self.force_unit}]"
        return ForceCurves(self.timestamp.numpy(), self.strength, self.identifiers, self.valid.numpy(), unit)

    def asymmetry(self) -> dict[str, float | None]:
        """See :func:`biomechau.analysis.asymmetry`; empty without physics."""
        return {} if self.strength is None else asymmetry(self.strength[self.valid.numpy()], self.identifiers)

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
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)

    @classmethod
    def load(cls, path: str | Path) -> Replay:
        """Read what :meth:`save` wrote.

        Raises:
            ValueError: not such a file, or of another version.
            OSError: the file cannot be read.
        """
        try:
            with safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path}: not a safetensors file: {error}") from error
        if metadata.get("format") != _FORMAT or metadata.get("version") != _VERSION:
            found = f"{metadata.get('format')!r}, version {metadata.get('version')!r}"
            raise ValueError(f"{path}: expected {_FORMAT!r}, version {_VERSION!r}, found {found}")
        try:
            about: dict[str, Any] = json.loads(metadata["about"])
            words = {name: tuple(about[name]) if isinstance(about[name], list) else about[name] for name in _WORDS}
            scene = {name.removeprefix("scene."): t for name, t in tensors.items() if name.startswith("scene.")}
            found = {name: tensors[name] for name in _TENSORS if name in tensors}
            return cls(**words, **found, scene=FaceScene(**scene))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not a whole {_FORMAT}: {error}") from error


_WORDS = ("name", "identifiers", "action_units", "force_unit", "vertex_force_unit", "residual_of")
_TENSORS = ("timestamp", "valid", "coefficients", "forces", "motion", "residual", "probabilities", "labels")
