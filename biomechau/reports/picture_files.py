"""Picture files: forces of a recording, a performance at several moments, a prediction, the shapes of a rig."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from biomechau.analysis import CaptureForces, Prediction, expressive_frames
from biomechau.analysis.asymmetry import asymmetry_in_words
from biomechau.analysis.face_forces import Floats
from biomechau.reports._heat_rows import HeatRows
from biomechau.reports._render import FaceRenderer
from biomechau.reports.curves import ForceCurves
from biomechau.reports.figures import (
    FacePicture,
    contact_sheet,
    forces_figure,
    prediction_figure,
    save_figure,
    strip_figure,
)
from biomechau.rig import FaceRig
from biomechau.rig.action_unit_names import NAMES, column_name


def draw_forces(found: CaptureForces, path: Path) -> None:
    """Write ``forces.png``: the strongest muscles over time, and the face at the strongest frame coloured by force."""
    frame = found.strongest_frame
    time = float(found.sequence.timestamp[frame])
    force = found.vertex_force(found.forces[frame])
    face = found.vertices(frame)
    with FaceRenderer([face], found.rig.faces.numpy(), 1000, found.rig.axes) as renderer:
        picture = FacePicture(renderer.picture(face, _share(force)), time, f"strongest frame, {time:.2f} s")
    title = f"{found.sequence.name}: muscle forces"
    sides = asymmetry_in_words(found.asymmetry.total)
    title += f"; side that moves more: {sides}" if sides else ""
    scale = float(force.max()) or 1.0
    save_figure(
        forces_figure(ForceCurves.of(found, quality=found.quality), picture, scale, found.vertex_force_unit, title),
        path,
    )


def draw_performance(found: CaptureForces, truth: Tensor, moments: Mapping[str, float], path: Path, title: str) -> None:
    """Write ``demo.png``: recovered forces on the face at named moments [s], and their curves over the true ones.

    Args:
        found: the recovered forces.
        truth: (T, M) the forces that caused the motion, at the same frames.
        moments: time of each face by its name.
        path: of the PNG.
        title: heading.
    """
    timestamp = found.sequence.timestamp.numpy()
    frames = [int(np.abs(timestamp - time).argmin()) for time in moments.values()]
    forces = [found.vertex_force(found.forces[frame]) for frame in frames]
    scale = max(float(force.max()) for force in forces) or 1.0
    faces = [found.vertices(frame) for frame in frames]
    with FaceRenderer(faces, found.rig.faces.numpy(), 500, found.rig.axes) as renderer:
        pictures = [
            FacePicture(renderer.picture(face, force / scale), float(timestamp[frame]), f"{name}, {time:.1f} s")
            for face, force, frame, (name, time) in zip(faces, forces, frames, moments.items(), strict=True)
        ]
    curves = ForceCurves.of(found, truth.double().numpy())
    save_figure(strip_figure(curves, pictures, scale, found.vertex_force_unit, title), path)


def draw_prediction(prediction: Prediction, path: Path) -> None:
    """Write ``prediction.png``: a few faces coloured by force, the action units over time, the strongest muscles."""
    face, probabilities = prediction.face, prediction.probabilities.double().numpy()
    sequence, timestamp = face.sequence, face.sequence.timestamp.numpy()
    moved = face.strength.sum(1) if prediction.has_forces else probabilities.sum(1)
    frames = expressive_frames(moved, sequence.valid.numpy(), 5)
    forces = [face.vertex_force(face.forces[frame]) for frame in frames]
    peak = max(float(force.max()) for force in forces) or 1.0
    shown = [face.vertices(frame) for frame in frames]
    with FaceRenderer(shown, face.rig.faces.numpy(), 500, face.rig.axes) as renderer:
        pictures = [
            FacePicture(
                renderer.picture(vertices, force / peak),
                float(timestamp[frame]),
                f"{timestamp[frame]:.2f} s\n{_likely(prediction, frame)}",
            )
            for vertices, force, frame in zip(shown, forces, frames, strict=True)
        ]
    labels = prediction.labels
    rows = HeatRows(
        timestamp,
        probabilities,
        tuple(_row_name(prediction, unit) for unit in prediction.action_units),
        sequence.valid.numpy(),
        None if labels is None else labels.numpy(),
        None if prediction.side_probabilities is None else prediction.side_probabilities.double().numpy(),
    )
    curves = ForceCurves.of(face, quality=prediction.quality) if prediction.has_forces else None
    title = f"{sequence.name}: action units and muscle forces"
    if prediction.background.simulated:
        title += ", by a detector trained on simulated people alone"
    save_figure(prediction_figure(rows, curves, pictures, peak, face.vertex_force_unit, title), path)


def _row_name(prediction: Prediction, unit: int) -> str:
    """``"cheek raiser  AU06  F1 .62"``, of the test where there was one."""
    f1 = prediction.background.test_f1.get(unit)
    name = f"{NAMES.get(unit, '')}  {column_name(unit)}"
    return name if f1 is None else f"{name}  F1 {f1:.2f}".replace(" 0.", " .")


def _likely(prediction: Prediction, frame: int, count: int = 5) -> str:
    """The most probable action units of those that are on: ``"AU 6 + 12"``."""
    row, on = prediction.probabilities[frame].tolist(), prediction.on[frame]
    on = sorted((r for r in range(len(row)) if on[r]), key=lambda r: -row[r])[:count]
    units = sorted(prediction.action_units[r] for r in on)
    return f"AU {' + '.join(map(str, units))}" if units else "no action unit"


def draw_shapes(
    rig: FaceRig,
    path: Path,
    title: str,
    shapes: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write a contact sheet: the neutral face and shapes at full activation, coloured by displacement.

    Args:
        rig: the face.
        path: of the PNG.
        title: heading.
        shapes: names of the shapes to show; all of them if none are given.
        progress: called with (faces rendered, faces in all).

    Raises:
        ValueError: a shape that the rig lacks.
    """
    indices = rig.shape_indices(shapes or rig.names)
    neutral = rig.neutral.double().numpy()
    displacements = [np.zeros_like(neutral), *rig.blendshapes[indices].double().numpy()]
    sizes = [np.linalg.norm(displacement, axis=1) for displacement in displacements]
    captions = ["neutral"]
    captions += [f"{rig.names[i]}, {size.max():.2g} cm" for i, size in zip(indices, sizes[1:], strict=True)]
    faces = []
    with FaceRenderer([neutral + u for u in displacements], rig.faces.numpy(), 450, rig.axes) as renderer:
        for caption, displacement, size in zip(captions, displacements, sizes, strict=True):
            faces.append((caption, renderer.picture(neutral + displacement, _share(size))))
            if progress is not None:
                progress(len(faces), len(displacements))
    save_figure(contact_sheet(faces, "displacement, share of the shape's peak", title), path)


def _share(values: Floats) -> Floats:
    """Values divided by their peak; zeros stay zeros."""
    return values / (values.max() or 1.0)
