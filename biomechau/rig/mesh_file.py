"""Mesh files of any kind that is read, OBJ and PLY, every vertex in the order of the file."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import reason
from biomechau.rig._obj import LARGEST_COORDINATE, ObjMesh, read_obj, read_obj_vertices

MESH_ENDINGS = (".obj", ".ply")


def read_mesh(path: Path) -> ObjMesh:
    """Vertices and polygons of a mesh file.

    Raises:
        ValueError: a broken file, or no vertices; the message names the file, and the line where it has lines.
        OSError: the file cannot be read.
    """
    if path.suffix.lower() != ".ply":
        return read_obj(path)
    content = _read_ply(path)
    faces = content.get("faces", np.empty((0, 3), np.int64))
    vertices = _vertices(path, content)
    if (
        faces.dtype.kind not in "iu"
        or faces.ndim != 2
        or faces.shape[-1] != 3
        or (faces.size and not 0 <= faces.min() <= faces.max() < len(vertices))
    ):
        raise ValueError(f"{path}: its faces are broken: the file has {len(vertices)} vertices")
    return ObjMesh(vertices, np.full(len(faces), 3, np.int64), faces.astype(np.int64).ravel())


def read_mesh_vertices(path: Path) -> NDArray[np.float64]:
    """Only the vertices (N, 3) of a mesh file.

    Raises:
        ValueError: a broken file, or no vertices; the message names the file, and the line where it has lines.
        OSError: the file cannot be read.
    """
    return _vertices(path, _read_ply(path)) if path.suffix.lower() == ".ply" else read_obj_vertices(path)


def _read_ply(path: Path) -> dict[str, NDArray[Any]]:
    # Here, because importing trimesh takes half a second that every command would wait for.
    from trimesh.exchange.ply import load_ply

    with path.open("rb") as file, warnings.catch_warnings():
        # numpy's, for what is no number in a text file.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            # A vertex per texture coordinate would be another order of vertices.
            content = load_ply(file, fix_texture=False, skip_materials=True)
            return {name: np.asarray(content[name]) for name in ("vertices", "faces") if content.get(name) is not None}
        except OSError:
            raise
        except Exception as error:
            raise ValueError(
                f"{path}: not a PLY file that can be read: {reason(error)} "
                "(a binary one must have polygons of one size: triangles or quads)"
            ) from error


def _vertices(path: Path, content: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
    vertices = content.get("vertices", np.empty(0))
    if vertices.dtype.kind not in "fiu" or vertices.ndim != 2 or vertices.shape[-1] != 3 or not len(vertices):
        raise ValueError(f"{path}: no vertices: a PLY file needs an element vertex with x, y and z in every row")
    outside = ~(np.abs(vertices) <= LARGEST_COORDINATE).all(1)
    if outside.any():
        index = int(np.flatnonzero(outside)[0])
        raise ValueError(
            f"{path}: vertex {index} must have finite coordinates of at most {LARGEST_COORDINATE:g}, "
            f"found {vertices[index].tolist()}"
        )
    return vertices.astype(np.float64)
