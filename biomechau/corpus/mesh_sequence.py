"""Reader of folders of numbered meshes, which are fitted with the shapes of a rig."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from biomechau.corpus.face_sequence import FaceSequence, check_frame_rate, find_dropped
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.mesh_fit import MeshFitter
from biomechau.corpus.numbered_files import number_files
from biomechau.corpus.resampling import check_span
from biomechau.rig import FaceRig
from biomechau.rig.mesh_file import MESH_ENDINGS, read_mesh_vertices

# Number of meshes that are fitted together.
_CHUNK = 256


def read_mesh_sequence(
    folder: str | Path,
    rig: FaceRig,
    fps: float,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    axes: str = SAME_AXES,
) -> FaceSequence:
    """Read a moving mesh and fit its coefficients frame by frame (:meth:`FaceRig.fit`).

    The OBJ or PLY files are ordered by the frame number in their names
    (:func:`biomechau.corpus.numbered_files.number_files`); missing numbers are dropped frames. ``notes`` say if the rig
    does not fit the meshes.

    Args:
        folder: folder of the files.
        rig: the face, with the vertices of the meshes in the same order.
        fps: frame rate [1/s].
        rigid: fit the rigid motion of the head too, and remove it.
        scale: centimetres per unit of the files.
        progress: called with (frames done, total frames).
        axes: which axes of the files are the rig's x, y and z, such as ``x,z,-y``.

    Raises:
        ValueError: no OBJ or PLY files, a name without a number, a number that appears twice or is too large, an
            implausibly long gap (:func:`biomechau.corpus.resampling.check_span`), a mesh with more or fewer vertices
            than the rig, a first mesh that is mirrored or more than three times larger or smaller than the rig, axes
            that are invalid or a reflection, or a broken file; the message names the file.
        OSError: the folder or a file cannot be read.
    """
    folder = Path(folder)
    check_frame_rate(fps)
    fitter = MeshFitter(rig, rigid, scale, axes)
    frames, notes = number_files(folder, MESH_ENDINGS, "OBJ or PLY files")
    files = list(frames.values())
    numbers = np.array(list(frames))
    step = np.diff(numbers).min() if len(numbers) > 1 else 1
    timestamp = torch.from_numpy((numbers - numbers[0]) / (step * fps))
    # Checked before the meshes are read, which takes longer.
    check_span(timestamp, fps, lambda index: f"{files[index]}: frame {numbers[index]}")
    coefficients = []
    for start in range(0, len(files), _CHUNK):
        meshes = []
        for done, file in enumerate(files[start : start + _CHUNK], start + 1):
            vertices = read_mesh_vertices(file)
            if len(vertices) != rig.num_vertices:
                raise ValueError(f"{file}: expected {rig.num_vertices} vertices like the rig, found {len(vertices)}")
            meshes.append(torch.from_numpy(vertices).float())
            if progress is not None:
                progress(done, len(files))
        try:
            coefficients.append(fitter.fit(torch.stack(meshes)))
        except ValueError as error:
            raise ValueError(f"{folder}, counting frames from {files[start].name}: {error}") from error
    return FaceSequence(
        name=folder.name,
        coefficients=torch.cat(coefficients),
        channels=rig.names,
        timestamp=timestamp,
        valid=torch.ones(len(numbers), dtype=torch.bool),
        fps=fps,
        dropped=find_dropped(timestamp, fps),
        source=f"mesh sequence {folder.name}, {files[0].name} to {files[-1].name}, {fitter.placement}",
        notes=(*notes, *fitter.notes()),
        left_over=fitter.left_over(),
    )
