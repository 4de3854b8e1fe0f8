"""The learned metric of a rig, kept in the user's cache folder: it takes a minute to learn."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from dataclasses import asdict, replace
from pathlib import Path

import torch
from safetensors.torch import save

from biomechau.analysis import learn_metric
from biomechau.analysis.learned_metric import PEOPLE
from biomechau.commands.terminal import print_message, progress_bar
from biomechau.files import replacing
from biomechau.physics import FaceDynamics, ForceMetric, InverseOptions, PhysicsConfig
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.tensor_file import open_tensors

_VERSION = 3
_TENSORS = ("response", "error", "second_moment", "mean", "recovery", "widening")


def cache_folder() -> Path:
    """``BIOMECHAU_CACHE``, or ``biomechau`` in the user's cache folder."""
    if folder := os.environ.get("BIOMECHAU_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "biomechau"


def learned_metric(
    rig: FaceRig, muscles: Muscles | None, config: PhysicsConfig, options: InverseOptions, quiet: bool = False
) -> ForceMetric | None:
    """The metric that the options ask for: from the cache, or learned now and kept; None where they ask for none.

    Args:
        rig: the face.
        muscles: the muscle table; ``Muscles.facs()`` if not given.
        config: the physical model.
        options: of the inverse dynamics.
        quiet: show no progress.

    Raises:
        ValueError: as :func:`biomechau.analysis.learn_metric`.
    """
    if options.metric != "learned":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # muscles that the rig lacks are named with the forces
        dynamics = FaceDynamics(rig, Distribution.from_rig(rig, muscles), config, torch.float64)
    path = cache_folder() / "metrics" / f"{_key(dynamics)}.safetensors"
    try:
        with open_tensors(path) as file:
            tensors = {name: file.get_tensor(name) for name in _TENSORS}
            tensors["widening"] = float(tensors["widening"])
            return ForceMetric(dynamics.shape_names, dynamics.muscles.names, **tensors)
    except (OSError, ValueError):
        pass  # not there, or not whole
    with progress_bar("learning the metric from simulated people", quiet) as progress:
        metric = learn_metric(rig, dynamics, progress)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            tensors = {
                name: torch.as_tensor(getattr(metric, name), dtype=torch.float64).contiguous() for name in _TENSORS
            }
            partial.write_bytes(save(tensors))
    except OSError as error:
        print_message("note", f"the learned metric could not be kept for the next time: {error}")
    return metric


def _key(dynamics: FaceDynamics) -> str:
    """Digest of all that a metric is learned from."""
    digest = hashlib.sha256()
    for tensor in (dynamics.mass, dynamics.stiffness, dynamics.damping, dynamics.projection, dynamics.blendshapes):
        digest.update(tensor.numpy().tobytes())
    config = replace(dynamics.config, fps=PhysicsConfig().fps)  # for all frame rates
    people = [asdict(people) for people in PEOPLE]
    names = [dynamics.shape_names, dynamics.muscles.names]
    digest.update(json.dumps([_VERSION, asdict(config), people, names]).encode())
    return digest.hexdigest()[:32]
