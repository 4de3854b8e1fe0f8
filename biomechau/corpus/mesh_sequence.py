"""Reader of folders of numbered OBJ files, fitted with the shapes of a rig."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from biomechau.corpus.face_sequence import FaceSequence, check_frame_rate, find_dropped
from biomechau.corpus.frame_columns import LARGEST_FRAME
from biomechau.corpus.resampling import check_span
from biomechau.corpus.units import check_scale, check_size
from biomechau.rig import FaceRig
from biomechau.rig.obj import read_obj_vertices

# Meshes read before they are fitted together.
_CHUNK = 256


def read_mesh_sequence(
    folder: str | Path,
    rig: FaceRig,
    fps: float,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> FaceSequence:
    """Read a moving mesh and fit its coefficients frame by frame (:meth:`FaceRig.fit`).

    The OBJ files are frames in the order of the last number in their names; numbers that are left out are dropped
    frames.

    Args:
        folder: folder of OBJ files.
        rig: the face, with the vertices of the meshes in the same order.
        fps: frame rate [1/s].
        rigid: fit the head's rigid motion too, and take it out.
        scale: centimetres per unit of the files.
        progress: called with (frames done, frames in all).

    Raises:
        ValueError: no OBJ files, a name without a number, a number that is there twice or too large, a gap
            too long to be one (:func:`biomechau.corpus.resampling.check_span`), a mesh with another vertex
            count than the rig, a first mesh more than three times as large or as small as the rig, a broken file; the
            message names the file.
        OSError: the folder or a file cannot be read.
    """
    folder = Path(folder)
    check_frame_rate(fps)
    check_scale(scale)
    frames = _number_files(folder)
    files = list(frames.values())
    numbers = np.array(list(frames))
    step = np.diff(numbers).min() if len(numbers) > 1 else 1
    timestamp = torch.from_numpy((numbers - numbers[0]) / (step * fps))
    # Before the meshes are read, which takes its time.
    check_span(timestamp, fps, lambda index: f"{files[index]}: frame {numbers[index]}")
    coefficients = []
    for start in range(0, len(files), _CHUNK):
        meshes = []
        for done, file in enumerate(files[start : start + _CHUNK], start + 1):
            vertices = read_obj_vertices(file)
            if len(vertices) != rig.num_vertices:
                raise ValueError(f"{file}: expected {rig.num_vertices} vertices as the rig, found {len(vertices)}")
            meshes.append(torch.from_numpy(scale * vertices).float())
            if progress is not None:
                progress(done, len(files))
        try:
            if start == 0:
                check_size(rig, meshes[0])
            coefficients.append(rig.fit(torch.stack(meshes), rigid=rigid))
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
        source=f"OBJ sequence {folder.name}, {files[0].name} to {files[-1].name}, {scale:g} cm per unit",
    )


def _number_files(folder: Path) -> dict[int, Path]:
    """The OBJ files of a folder by the last number in their names, rising."""
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() != ".obj":
            continue
        digits = re.findall(r"\d+", path.stem)
        if not digits:
            raise ValueError(f"{path}: the name has no frame number")
        if (number := int(digits[-1])) > LARGEST_FRAME:
            raise ValueError(f"{path}: the frame number is too large, expected at most {LARGEST_FRAME:,}")
        if number in files:
            raise ValueError(f"{path}: frame number {number} is there twice, also as {files[number].name}")
        files[number] = path
    if not files:
        raise ValueError(f"{folder}: no OBJ files")
    return dict(sorted(files.items()))
