"""Importer of a folder of meshes that share one topology: a neutral and one mesh per shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biomechau.rig._obj import ObjMesh, face_lines
from biomechau.rig._rig_parts import RigParts, imported_parts
from biomechau.rig.file_names import NEUTRALS, find_neutral, newest_versions
from biomechau.rig.mesh_file import MESH_ENDINGS, read_mesh, read_mesh_vertices
from biomechau.rig.names import shortened


def read_obj_directory(
    folder: str | Path,
    neutral: str | None = None,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
) -> RigParts:
    """The parts of a rig from every OBJ (or PLY) file of a folder; each file but the neutral is one shape.

    A shape is named as its file, without what a program has put before or behind all names
    (:func:`biomechau.rig.file_names.plain_shape_names`) and without a version (``smile_v002.obj``); of several
    versions the newest is taken. Shapes equal to the neutral are dropped. ``provenance`` names what was dropped, left
    out and renamed.

    Args:
        folder: folder with at least two mesh files of the same vertices and faces; faces may stand in any order.
        neutral: name of the neutral's file, in any case, with or without ending and version; if not given, the file
            whose name says neutral, basis, base, rest or default.
        scale: centimetres per unit of the files.
        progress: called with (shapes read, shapes in all).

    Raises:
        ValueError: no mesh files, no neutral, no shapes, no faces, other vertices or faces than the neutral's, a broken
            file.
        OSError: the folder or a file cannot be read.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive, got {scale}")
    paths = sorted(path for path in Path(folder).iterdir() if path.suffix.lower() in MESH_ENDINGS)
    if not paths:
        raise ValueError(f"{folder}: no OBJ files, and no PLY files")
    files, older = newest_versions(paths)
    rest_name = _neutral_of(folder, files, neutral)
    rest_path = files.pop(rest_name)
    if not files:
        raise ValueError(f"{folder}: no shapes besides the neutral {rest_path.name}")

    rest = read_mesh(rest_path)
    if not len(rest.polygon_sizes):
        raise ValueError(
            f"{rest_path}: no faces: the neutral needs lines 'f a b c', which give its vertices their mass"
        )
    blendshapes = []
    topology = _Topology(rest_path, rest)
    for done, path in enumerate(files.values(), 1):
        vertices = read_mesh_vertices(path)
        if vertices.shape != rest.vertices.shape:
            raise ValueError(
                f"{path}: expected {len(rest.vertices)} vertices as in {rest_path.name}, found {len(vertices)}"
            )
        topology.check(path)
        blendshapes.append(torch.from_numpy((scale * (vertices - rest.vertices)).astype(np.float32)))
        if progress is not None:
            progress(done, len(files))
    if not any(shape.any() for shape in blendshapes):
        raise ValueError(f"{folder}: no shape differs from the neutral {rest_path.name}")
    return imported_parts(
        torch.from_numpy((scale * rest.vertices).astype(np.float32)),
        torch.from_numpy(rest.triangles()),
        blendshapes,
        tuple(files),
        {
            "source": f"OBJ folder {Path(folder).name}",
            "neutral": rest_path.name,
            "scale": f"{scale:g} cm per unit",
            **({"older_versions": ", ".join(path.name for path in older)} if older else {}),
        },
    )


def _neutral_of(folder: str | Path, files: dict[str, Path], wanted: str | None) -> str:
    """The name of the neutral among the files."""
    if wanted is None:
        found = find_neutral(tuple(files))
        what = f"expected one neutral, a file named {' or '.join(NEUTRALS)}"
    else:
        stem = Path(wanted).stem if Path(wanted).suffix.lower() in MESH_ENDINGS else wanted
        found = [name for name, path in files.items() if stem.casefold() in (name.casefold(), path.stem.casefold())]
        what = f"expected one neutral named {wanted!r} (in any case)"
    if len(found) != 1:
        names = shortened([files[name].name for name in found or files], 8)
        raise ValueError(f"{folder}: {what}, found {names}; --neutral NAME tells which it is")
    return found[0]


class _Topology:
    """The faces of the neutral, to compare those of the shapes with."""

    def __init__(self, path: Path, mesh: ObjMesh) -> None:
        self._path, self._mesh = path, mesh
        self._lines = self._lines_of(path)

    def check(self, path: Path) -> None:
        """Raise ``ValueError`` unless a shape has the polygons of the neutral, in any order, from any corner."""
        # Equal lines are equal faces; only lines that differ (in texture coordinates, say) are worth reading.
        lines = self._lines_of(path)
        if lines is not None and lines == self._lines:
            return
        found, expected = _polygons(read_mesh(path)), _polygons(self._mesh)
        if found.keys() != expected.keys() or not all(np.array_equal(found[size], expected[size]) for size in found):
            raise ValueError(f"{path}: its faces differ from those of {self._path.name}")

    @staticmethod
    def _lines_of(path: Path) -> list[bytes] | None:
        return None if path.suffix.lower() == ".ply" else face_lines(path)


def _polygons(mesh: ObjMesh) -> dict[int, NDArray[np.int64]]:
    """The polygons (P, corners) by their number of corners, rows and the corners of a row in rising order."""
    by_size = {}
    for size in np.unique(mesh.polygon_sizes).tolist():
        chosen = np.repeat(mesh.polygon_sizes == size, mesh.polygon_sizes)
        rows = np.sort(mesh.corners[chosen].reshape(-1, size), 1)
        by_size[size] = rows[np.lexsort(rows.T[::-1])]
    return by_size
