"""Detector folders: JSON and safetensors, nothing that runs code when it is read."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from biomechau.files import read_description, staged_directory
from biomechau.models.detector import Detector
from biomechau.models.detector_config import DetectorConfig
from biomechau.models.pooling import MeshHierarchy
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.muscles import Muscle, Muscles

FORMAT = "biomechau-detector"
VERSION = 1
DESCRIPTION, TENSORS, RIG = "detector.json", "detector.safetensors", "rig.safetensors"


def save_detector(detector: Detector, folder: str | Path) -> None:
    """Write a detector as ``detector.json``, ``detector.safetensors`` and ``rig.safetensors``.

    The first names the digests of the others, so that a folder left half-written is seen when it is read.

    Raises:
        OSError: the folder cannot be written.
    """
    distribution = detector.distribution
    tensors = {f"state.{name}": tensor for name, tensor in detector.state_dict().items()}
    tensors |= {f"distribution.{name}": getattr(distribution, name) for name in ("crow", "col", "val")}
    if detector.encoder is not None:
        tensors |= {f"hierarchy.{name}": x for name, x in detector.encoder.hierarchy.tensors().items()}
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with staged_directory(folder) as stage:
        (stage / TENSORS).write_bytes(save(tensors))
        detector.rig.save(stage / RIG)
        description = {
            "format": FORMAT,
            "version": VERSION,
            "config": detector.config.to_json(),
            "dtype": str(detector.dynamics.mass.dtype).removeprefix("torch."),
            "muscles": [asdict(muscle) for muscle in distribution.muscles],
            "sha256": {name: _digest(stage / name) for name in (TENSORS, RIG)},
        }
        (stage / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_detector(folder: str | Path) -> Detector:
    """Read a detector that :func:`save_detector` wrote, in evaluation mode on the CPU.

    Raises:
        ValueError: not a complete detector of this version; the message names the file.
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    description = _read_description(path)
    for name in (TENSORS, RIG):
        if _digest(folder / name) != description["sha256"].get(name):
            raise ValueError(f"{folder / name}: not the file that {path} was written with")
    try:
        tensors = load((folder / TENSORS).read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{folder / TENSORS}: not a complete safetensors file: {error}") from error
    rig = FaceRig.load(folder / RIG)
    try:
        config = DetectorConfig.from_json(description["config"])
        muscles = Muscles(
            Muscle(**{**muscle, "action_units": tuple(muscle["action_units"]), "shapes": tuple(muscle["shapes"])})
            for muscle in description["muscles"]
        )
        crow, col, val = (tensors[f"distribution.{name}"] for name in ("crow", "col", "val"))
        distribution = Distribution(crow, col, val, (rig.num_vertices, len(muscles)), muscles)
        stored = _below(tensors, "hierarchy.")
        hierarchy = MeshHierarchy.from_tensors(stored) if stored else None
        dtype = {"float32": torch.float32, "float64": torch.float64}[description["dtype"]]
        detector = Detector(rig, distribution, config, hierarchy, dtype)
        # The configuration is that of the description; folders of version 0.1.0 do not repeat it in the state.
        known = {name: x for name, x in detector.state_dict().items() if name.endswith("_extra_state")}
        detector.load_state_dict(known | _below(tensors, "state."))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: not a detector of this version: {error}") from error
    return detector.eval()


def _read_description(path: Path) -> dict[str, Any]:
    description = read_description(path, "a detector", FORMAT)
    if description.get("version") != VERSION:
        raise ValueError(f"{path}: detector version {VERSION} expected, found {description.get('version')!r}")
    if not isinstance(description.get("sha256"), dict):
        raise ValueError(f"{path}: lacks the digests of its files")
    return description


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
