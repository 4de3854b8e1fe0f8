"""Importer of faces with morph targets from glTF 2.0 files, .glb and .gltf."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from biomechau.file_errors import naming, quote, regular_file
from biomechau.json_file import entry, is_object, is_text, list_of
from biomechau.rig._gltf_file import GltfFile, is_index
from biomechau.rig._rig_parts import RigParts, imported_parts

_TRIANGLES = 4
_MOST_TARGETS = 1000  # of one mesh: faces have fewer, and they may ask for more memory than the file has bytes


def read_gltf(path: str | Path, scale: float = 100.0) -> RigParts:
    """The parts of a rig from the mesh of a glTF file that has morph targets; of several, the one with most vertices.

    The transformation of its node is applied. Vertices that a program has split where texture or normals jump, alike in
    place and in every shape, become one. Shapes are named by ``extras.targetNames``, without what a program has put
    before or behind all names; those that move nothing are dropped. ``provenance`` names what was left out or joined.

    Args:
        path: the file; ``.gltf`` may name other files beside it.
        scale: centimetres per unit of the file; glTF's is the metre.

    Raises:
        ValueError: not glTF 2.0, no mesh with morph targets, compressed meshes, or a broken file; the message names the
            file and what was expected.
        OSError: a file cannot be read.
    """
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale must be positive, got {scale}")
    path = Path(path)
    regular_file(path)
    with naming(path):
        return _read(GltfFile(path), scale)


def _read(file: GltfFile, scale: float) -> RigParts:
    path = file.path
    found = [
        (index, mesh) for index, mesh in enumerate(file.objects("meshes")) if any(map(_targets, _primitives(mesh)))
    ]
    if not found:
        raise ValueError("expected a mesh with morph targets (shape keys, blendshapes), found none")
    meshes = {index: _Mesh(file, index, mesh) for index, mesh in found}
    index = max(meshes, key=lambda index: len(meshes[index].neutral))
    mesh, matrix = meshes[index], file.transformation(index)
    if not mesh.faces.size:
        raise ValueError(f"mesh {mesh.name}: expected triangles, found none")
    # The displacements are turned and scaled, but not moved.
    linear = matrix[:3, :3].T * scale
    neutral = mesh.neutral @ linear + matrix[:3, 3] * scale
    shapes = mesh.shapes @ linear
    faces = mesh.faces if np.linalg.det(linear) > 0 else mesh.faces[:, ::-1]
    kept, place = _weld(np.concatenate([neutral[None], shapes]))
    faces = place[faces]
    # Triangles that the weld has made lines.
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    neutral, shapes = neutral[kept], shapes[:, kept]
    if not shapes.any():
        raise ValueError(f"mesh {mesh.name}: none of its morph targets moves a vertex")
    others = [other.name for key, other in meshes.items() if key != index]
    return imported_parts(
        torch.from_numpy(neutral.astype(np.float32)),
        torch.from_numpy(faces.astype(np.int64)),
        list(torch.from_numpy(shapes.astype(np.float32))),
        mesh.names,
        {
            "source": f"glTF file {path.name}",
            "mesh": mesh.name,
            "scale": f"{scale:g} cm per unit",
            **({"joined_vertices": str(len(place) - len(kept))} if len(kept) < len(place) else {}),
            **({"other_meshes": ", ".join(others)} if others else {}),
        },
    )


def _weld(positions: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of positions (K + 1, N, 3) the vertices that differ from all before them, and the place of each among these."""
    rows = np.ascontiguousarray(positions.swapaxes(0, 1).astype(np.float32).reshape(positions.shape[1], -1) + 0.0)
    keys = rows.view(np.dtype((np.void, rows.shape[1] * rows.itemsize)))[:, 0]
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    kept = np.sort(first)
    return kept, np.searchsorted(kept, first)[inverse]


class _Mesh:
    """One mesh with morph targets: its primitives, one after the other.

    Attributes:
        name: of the mesh.
        neutral: (N, 3).
        shapes: (K, N, 3).
        faces: (F, 3).
        names: K names.
    """

    def __init__(self, file: GltfFile, index: int, mesh: dict[str, Any]) -> None:
        self.name = mesh["name"] if is_text(mesh.get("name")) else str(index)
        neutral, shapes, faces = [], [], []
        count, first = 0, None
        for number, primitive in enumerate(_primitives(mesh)):
            what = f"mesh {quote(self.name)}, primitive {number}"
            if primitive.get("mode", _TRIANGLES) != _TRIANGLES:
                raise ValueError(f"{what}: expected triangles (mode {_TRIANGLES}), found {quote(primitive['mode'])}")
            targets = _targets(primitive)
            first = targets if first is None else first
            if len(targets) > _MOST_TARGETS:
                raise ValueError(f"{what}: expected at most {_MOST_TARGETS} morph targets, found {len(targets)}")
            if len(targets) != len(first):
                raise ValueError(f"{what}: expected {len(first)} morph targets as in primitive 0, found {len(targets)}")
            attributes = entry(primitive, "attributes", "an object", is_object, "primitive.")
            vertices = file.accessor(entry(attributes, "POSITION", "an accessor", is_index), "VEC3", what)
            size = len(vertices)
            neutral.append(vertices)
            moved = np.zeros((len(targets), size, 3))
            for shape, target in zip(moved, targets, strict=True):
                if "POSITION" in target:
                    shape[:] = file.accessor(target["POSITION"], "VEC3", f"a target of {what}", size)
            shapes.append(moved)
            corners = np.arange(size) if "indices" not in primitive else file.indices(primitive["indices"], size, what)
            if len(corners) % 3:
                raise ValueError(f"{what}: expected three indices per triangle, found {len(corners)}")
            faces.append(corners.reshape(-1, 3).astype(np.int64) + count)
            count += size
        self.neutral, self.shapes = np.concatenate(neutral), np.concatenate(shapes, 1)
        self.faces = np.concatenate(faces)
        self.names = _names(mesh, len(self.shapes))


def _primitives(mesh: dict[str, Any]) -> list[dict[str, Any]]:
    return entry(mesh, "primitives", "a list of objects", list_of(is_object), "mesh.")


def _targets(primitive: dict[str, Any]) -> list[dict[str, Any]]:
    if "targets" not in primitive:
        return []
    return entry(primitive, "targets", "a list of objects", list_of(is_object), "primitive.")


def _names(mesh: dict[str, Any], count: int) -> tuple[str, ...]:
    """Of the morph targets; numbered where the file names none."""
    for holder in (mesh, *_primitives(mesh)):
        extras: Any = holder.get("extras")
        if is_object(extras) and "targetNames" in extras:
            names = extras["targetNames"]
            if not list_of(is_text)(names) or len(names) != count:
                raise ValueError(f'"targetNames": expected {count} names, one per morph target, found {quote(names)}')
            return tuple(names)
    return tuple(f"target_{index}" for index in range(count))
