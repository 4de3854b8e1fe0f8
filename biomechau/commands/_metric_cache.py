"""Where the learned metric of a rig is kept: in its file, in the package, or in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

import biomechau.analysis
from biomechau.analysis import learn_metric
from biomechau.analysis.learned_metric import PEOPLE
from biomechau.commands.terminal import print_message, progress_bar
from biomechau.files import replacing
from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, PhysicsConfig
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.tensor_file import open_tensors, tensor_bytes

SHIPPED = Path(biomechau.analysis.__file__).parent / "builtin_metric.safetensors"
_VERSION = 6
_TENSORS = ("response", "error", "second_moment", "mean", "recovery", "widening")
# A metric is of a model whose matrices are these, but for the rounding of another machine.
_MODEL, _ROUNDING = ("mass", "damping", "stiffness", "projection"), 1e-4
_PREFIX, _ABOUT, _DIGEST = "metric.", "metric", "metric_sha256"


def cache_folder() -> Path:
    """``BIOMECHAU_CACHE``, or ``biomechau`` in the user's cache folder."""
    if folder := os.environ.get("BIOMECHAU_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "biomechau"


def learned_metric(
    rig: FaceRig,
    muscles: Muscles | None,
    config: PhysicsConfig,
    options: InverseOptions,
    file: str | None = None,
    quiet: bool = False,
) -> ForceMetric | None:
    """The metric that the options ask for; None where they ask for none.

    From the rig's file, from the package for the built-in face, from the cache folder, or estimated now and kept there;
    a line says which.

    Args:
        rig: the face.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
        config: the physical model.
        options: of the inverse dynamics.
        file: what the rig was read from.
        quiet: say nothing and show no progress.

    Raises:
        ValueError: as :func:`biomechau.analysis.learn_metric`.
    """
    if options.metric != "learned":
        return None
    ForceMetric.check_physics(config)
    dynamics = model_of(rig, muscles, config)
    cached = cache_folder() / "metrics" / f"{_key(dynamics)}.safetensors"
    for path in (*([] if file is None else [Path(file)]), SHIPPED, cached):
        try:
            metric = read_metric(path, dynamics)
        except (OSError, ValueError) as error:
            print_message("warning", f"{error}; it is not used")
            continue
        if metric is not None:
            if not quiet:
                print_message("note", f"the learned metric is read from {path}")
            return metric
    if not quiet:
        print_message(
            "note",
            "the learned metric of this face and model is estimated, which takes a minute or two the first time; "
            'for a rig file, "rig import --metric" keeps it there',
        )
    metric = estimate_metric(rig, dynamics, quiet)
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with replacing(cached) as partial:
            partial.write_bytes(tensor_bytes(*packed(metric, dynamics)))
    except OSError as error:
        print_message("note", f"the learned metric could not be kept for the next time: {error}")
    return metric


def model_of(rig: FaceRig, muscles: Muscles | None = None, config: PhysicsConfig | None = None) -> FaceDynamics:
    """The model of a rig that a metric is estimated for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # muscles that the rig lacks are named with the forces
        return FaceDynamics(rig, Distribution.from_rig(rig, muscles), config or PhysicsConfig(), torch.float64)


def estimate_metric(rig: FaceRig, dynamics: FaceDynamics, quiet: bool = False) -> ForceMetric:
    """:func:`biomechau.analysis.learn_metric` with a progress bar."""
    with progress_bar("estimating the learned metric from simulated people", quiet) as progress:
        return learn_metric(rig, dynamics, progress)


def packed(metric: ForceMetric, dynamics: FaceDynamics) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a metric and of the model that it is of, for a safetensors file."""
    parts = {**{name: getattr(metric, name) for name in _TENSORS}, **{name: getattr(dynamics, name) for name in _MODEL}}
    tensors = {
        _PREFIX + name: torch.as_tensor(part, dtype=torch.float64).clone(memory_format=torch.contiguous_format)
        for name, part in parts.items()
    }
    about = _about(dynamics)
    return tensors, {_ABOUT: about, _DIGEST: _digest(tensors, about)}


def read_metric(path: Path, dynamics: FaceDynamics) -> ForceMetric | None:
    """The metric in a file; None if there is no such file, or one without a metric of this model.

    Raises:
        ValueError: the file is not whole, or its metric is not what was written; the message names the file.
    """
    if not path.is_file():
        return None
    with open_tensors(path) as file:
        metadata = file.metadata() or {}
        names = [name for name in file.keys() if name.startswith(_PREFIX)]  # noqa: SIM118
        about = metadata.get(_ABOUT)
        if about is not None and about != _about(dynamics):
            return None
        held = {name: file.get_tensor(name) for name in names}
    if about is None and not names:
        return None
    if about is None or metadata.get(_DIGEST) != _digest(held, about):
        raise ValueError(
            f"{path}: the learned metric in it is damaged: its checksum differs; rig import --metric makes it anew"
        )
    parts = {name.removeprefix(_PREFIX): tensor for name, tensor in held.items()}
    if not all(_alike(parts.pop(name), getattr(dynamics, name)) for name in _MODEL):
        return None
    widening = float(parts.pop("widening"))
    return ForceMetric(dynamics.shape_names, dynamics.muscles.names, widening=widening, **parts)


def _digest(tensors: Mapping[str, Tensor], about: str) -> str:
    """Checksum of a metric: its numbers and what they are of."""
    digest = hashlib.sha256(about.encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _alike(kept: Tensor, own: Tensor) -> bool:
    return kept.shape == own.shape and float((kept - own).abs().max()) <= _ROUNDING * float(own.abs().max())


def _about(dynamics: FaceDynamics) -> str:
    config = replace(dynamics.config, fps=PhysicsConfig().fps)  # for all frame rates
    return json.dumps([_VERSION, asdict(config), dynamics.shape_names, dynamics.muscles.names])


def _key(dynamics: FaceDynamics) -> str:
    """Checksum of all that a metric is learned from."""
    digest = hashlib.sha256()
    for tensor in (dynamics.mass, dynamics.stiffness, dynamics.damping, dynamics.projection, dynamics.blendshapes):
        digest.update(tensor.numpy().tobytes())
    digest.update(json.dumps([_about(dynamics), [asdict(people) for people in PEOPLE]]).encode())
    return digest.hexdigest()[:32]
