"""Detector folders: JSON and safetensors, which run no code when they are read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from biomechau.file_errors import quote, reason
from biomechau.files import read_description, staged_directory
from biomechau.finite import check_finite
from biomechau.models.detector_config import DetectorConfig
from biomechau.models.pooling import MeshHierarchy
from biomechau.rig.distribution import Distribution
from biomechau.rig.face_rig import FaceRig
from biomechau.rig.muscles import Muscle, Muscles

FORMAT = "biomechau-detector"
VERSION = 1
DESCRIPTION, TENSORS, RIG = "detector.json", "detector.safetensors", "rig.safetensors"


class DetectorParts(NamedTuple):
    """Arguments and state of a detector.

    Attributes:
        rig, distribution, config, hierarchy, dtype: arguments of :class:`biomechau.models.Detector`.
        state: its ``state_dict``.
    """

    rig: FaceRig
    distribution: Distribution
    config: DetectorConfig
    hierarchy: MeshHierarchy | None
    dtype: torch.dtype
    state: Mapping[str, Tensor]


def save_parts(parts: DetectorParts, folder: str | Path) -> None:
    """Write a detector as ``detector.json``, ``detector.safetensors`` and ``rig.safetensors``.

    The first holds the digests of the others, by which a half-written folder is recognised.

    Raises:
        ValueError: a weight is not finite; the message names it.
        OSError: the folder cannot be written.
    """
    distribution = parts.distribution
    check_finite("the detector", parts.state)
    tensors = {f"state.{name}": tensor for name, tensor in parts.state.items()}
    tensors |= {f"distribution.{name}": getattr(distribution, name) for name in ("crow", "col", "val")}
    if parts.hierarchy is not None:
        tensors |= {f"hierarchy.{name}": x for name, x in parts.hierarchy.tensors().items()}
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    with staged_directory(folder) as stage:
        (stage / TENSORS).write_bytes(save(tensors))
        parts.rig.save(stage / RIG)
        description = {
            "format": FORMAT,
            "version": VERSION,
            "config": parts.config.to_json(),
            "dtype": str(parts.dtype).removeprefix("torch."),
            "muscles": [asdict(muscle) for muscle in distribution.muscles],
            "sha256": {name: _digest(stage / name) for name in (TENSORS, RIG)},
        }
        (stage / DESCRIPTION).write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")


def load_parts(folder: str | Path) -> DetectorParts:
    """Read what :func:`save_parts` wrote.

    Raises:
        ValueError: not a complete detector of this version, or a weight that is not finite; the message names the file.
        OSError: a file cannot be read.
    """
    folder = Path(folder)
    path = folder / DESCRIPTION
    description = _read_description(path)
    for name in (TENSORS, RIG):
        if _digest(folder / name) != description["sha256"].get(name):
            raise ValueError(f"{folder / name}: its SHA-256 is not the one in {path}")
    try:
        tensors = load((folder / TENSORS).read_bytes())
    except SafetensorError as error:
        raise ValueError(f"{folder / TENSORS}: not a complete safetensors file: {reason(error)}") from error
    check_finite(folder / TENSORS, tensors)
    rig = FaceRig.load(folder / RIG)
    with readable(folder):
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
        return DetectorParts(rig, distribution, config, hierarchy, dtype, _below(tensors, "state."))


@contextmanager
def readable(folder: str | Path) -> Iterator[None]:
    """Turn errors of inconsistent contents into a ``ValueError`` that names the detector's description."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{Path(folder) / DESCRIPTION}: not a detector of this version: {reason(error)}") from error


def _read_description(path: Path) -> dict[str, Any]:
    description = read_description(path, "a detector", FORMAT)
    if description.get("version") != VERSION:
        raise ValueError(f"{path}: detector version {VERSION} expected, found {quote(description.get('version'))}")
    if not isinstance(description.get("sha256"), dict):
        raise ValueError(f"{path}: the digests of its files are missing")
    return description


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
