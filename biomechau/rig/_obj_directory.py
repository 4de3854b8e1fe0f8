"""Importer of a folder of OBJ meshes that share one topology: a neutral and one mesh per shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from biomechau.rig._rig_parts import RigParts
from biomechau.rig.obj import face_lines, read_obj, read_obj_vertices


def read_obj_directory(
    folder: str | Path,
    neutral: str = "Neutral",
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> RigParts:
    """Read a rig from all OBJ files of a folder; every file except the neutral is one shape, named after the file.

    Shapes equal to the neutral are dropped and listed in ``provenance["dropped_shapes"]``.

    Args:
        folder: contains at least two OBJ files with the same vertices and faces.
        neutral: name of the neutral's file, case-insensitive, with or without ``.obj``.
        scale: centimetres per unit of the files.
        progress: called with (shapes read, shapes in all).

    Raises:
        ValueError: no OBJ files, no neutral, no shapes, vertices or faces unlike the neutral's, a broken OBJ file.
        OSError: the folder or a file cannot be read.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive, got {scale}")
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() == ".obj")
    if not paths:
        raise ValueError(f"{folder}: no OBJ files")
    wanted = neutral.lower().removesuffix(".obj")
    neutrals = [path for path in paths if path.stem.lower() == wanted]
    if len(neutrals) != 1:
        found = ", ".join(path.name for path in neutrals or paths)
        raise ValueError(f"{folder}: expected one neutral named {neutral!r} (in any case), found {found}")
    shapes = [path for path in paths if path != neutrals[0]]
    if not shapes:
        raise ValueError(f"{folder}: no shapes besides the neutral {neutrals[0].name}")

    rest = read_obj(neutrals[0])
    lines = face_lines(neutrals[0])
    blendshapes = []
    for done, path in enumerate(shapes, 1):
        vertices = read_obj_vertices(path)
        if vertices.shape != rest.vertices.shape:
            raise ValueError(
                f"{path}: expected {len(rest.vertices)} vertices as in {neutrals[0].name}, found {len(vertices)}"
            )
        # Equal lines mean equal faces; parsing is needed only where they differ, for example in texture coordinates.
        if face_lines(path) != lines:
            mesh = read_obj(path)
            if not (
                np.array_equal(mesh.polygon_sizes, rest.polygon_sizes) and np.array_equal(mesh.corners, rest.corners)
            ):
                raise ValueError(f"{path}: its faces differ from those of {neutrals[0].name}")
        blendshapes.append(torch.from_numpy((scale * (vertices - rest.vertices)).astype(np.float32)))
        if progress is not None:
            progress(done, len(shapes))
    moves = [bool(shape.any()) for shape in blendshapes]
    if not any(moves):
        raise ValueError(f"{folder}: no shape differs from the neutral {neutrals[0].name}")
    return RigParts(
        neutral=torch.from_numpy((scale * rest.vertices).astype(np.float32)),
        faces=torch.from_numpy(rest.triangles()),
        blendshapes=torch.stack([shape for shape, kept in zip(blendshapes, moves, strict=True) if kept]),
        names=tuple(path.stem for path, kept in zip(shapes, moves, strict=True) if kept),
        identity=torch.empty(0),
        identity_names=(),
        provenance={
            "source": f"OBJ folder {Path(folder).name}",
            "neutral": neutrals[0].name,
            "scale": f"{scale:g} cm per unit",
            "dropped_shapes": ", ".join(path.stem for path, kept in zip(shapes, moves, strict=True) if not kept),
        },
    )
