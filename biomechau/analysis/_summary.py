"""Common entries of ``summary.json``: input, rig, versions, and key figures of the forces."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import numpy as np
import torch

from biomechau.analysis.asymmetry import ASYMMETRY_INDEX, RATIO_OF_SUMS, ratio_of_sums
from biomechau.analysis.face_forces import FaceForces
from biomechau.rig.left_over import LeftOver


def describe_input(forces: FaceForces) -> dict[str, Any]:
    """Input, rig and versions: the first entries of every ``summary.json``."""
    sequence = forces.sequence
    return {
        "input": {"name": sequence.name, "source": sequence.source},
        "rig": {
            "vertices": forces.rig.num_vertices,
            "shapes": forces.rig.num_shapes,
            "provenance": dict(forces.rig.provenance),
        },
        "versions": {
            "biomechau": version("biomechau"),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "physics": asdict(forces.dynamics.config),
        "frames": {
            "count": len(sequence),
            "fps": sequence.fps,
            "start": float(sequence.timestamp[0]),
            "end": float(sequence.timestamp[-1]),
            "filled": np.flatnonzero(~sequence.valid.numpy()).tolist(),
            "dropped": [{"after_recorded_frame": after, "count": count} for after, count in sequence.dropped],
            "repeated": list(sequence.repeated),
            "recorded": {
                "count": len(sequence.recorded),
                "fps": sequence.recorded.fps,
                "without_face": sequence.num_faceless,
                "lone_detections": list(sequence.recorded.lone),
            },
        },
        "meshes": _describe_meshes(sequence.left_over),
        "channels": {
            "unused": list(forces.channels.unused_channels),
            "missing_shapes": list(forces.channels.missing_shapes),
        },
    }


def _describe_meshes(left_over: LeftOver | None) -> dict[str, float] | None:
    """How far the recorded meshes are from the rig's neutral, and what its fit leaves over; None without meshes."""
    if left_over is None:
        return None
    return {
        "departure_mm": 10 * float(left_over.departure.square().mean().sqrt()),
        "residual_mm": 10 * float(left_over.residual.square().mean().sqrt()),
        "share_left_over": left_over.shape,
        "share_of_motion_left_over": left_over.motion,
    }


def describe_forces(forces: FaceForces) -> dict[str, Any]:
    """Peaks, means and asymmetry over the valid frames, for ``summary.json``."""
    valid = forces.sequence.valid.numpy()
    strength, timestamp = forces.strength[valid], forces.sequence.timestamp.numpy()[valid]
    missing = set(forces.channels.missing_shapes)
    return {
        "force_unit": forces.force_unit,
        "strongest_frame": {
            "frame": forces.strongest_frame,
            "timestamp": float(forces.sequence.timestamp[forces.strongest_frame]),
        },
        "muscles": {
            muscle.identifier: {
                "peak": float(strength[:, column].max()),
                "mean": float(strength[:, column].mean()),
                "time_of_peak": float(timestamp[strength[:, column].argmax()]),
                "measured": not missing.issuperset(muscle.shapes),
            }
            for column, muscle in enumerate(forces.distribution.muscles)
        },
        "muscles_left_out": list(forces.distribution.left_out),
        "asymmetry_index": forces.asymmetry._asdict(),
        "asymmetry_index_definition": ASYMMETRY_INDEX,
        "ratio_of_sums": ratio_of_sums(strength, forces.identifiers),
        "ratio_of_sums_definition": RATIO_OF_SUMS,
    }
