"""Importer of the light ICT-FaceKit face model, from its download folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biomechau.rig._obj import read_obj, read_obj_vertices
from biomechau.rig._rig_parts import RigParts

NEUTRAL = "generic_neutral_mesh.obj"
NUM_VERTICES = 26719
# Each region is the first part of the vertex list: face area; neck and back of the head; eyes, teeth and tongue.
REGIONS = {"face": 9409, "head": 11248, "all": NUM_VERTICES}
# PupilDilate_R displaces 66 eyelid vertices by up to 0.0045 cm, PupilDilate_L none: an artefact, not a motion of the
# face, and it would make the mass matrix all but singular. The smallest true peak is 0.23 cm (eyeLookIn).
MIN_PEAK = 0.01
_IDENTITY = re.compile(r"identity\d+")


def read_ict(
    folder: str | Path,
    region: str = "face",
    identity: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> RigParts:
    """Read a rig from a ``FaceXModel`` folder: its neutral, all expression shapes, and its identity modes.

    Shapes that move no vertex of the region by 0.01 cm are dropped and listed in ``provenance["dropped_shapes"]``. A
    displacement that is only the rounding of the printed decimals becomes zero, see :func:`displacements`.

    Args:
        folder: path of ``FaceXModel``.
        region: ``"face"``, ``"head"`` or ``"all"``.
        identity: also read the identity modes.
        progress: called with (files read, files in all).

    Raises:
        ValueError: an unknown region, not a FaceXModel folder, another number of vertices, a broken OBJ file.
        OSError: a file cannot be read.
    """
    if region not in REGIONS:
        raise ValueError(f"region must be one of {', '.join(map(repr, REGIONS))}, got {region!r}")
    folder = Path(folder)
    if not (folder / NEUTRAL).is_file():
        raise ValueError(f"{folder} is not an ICT FaceXModel folder: it has no {NEUTRAL}")
    num_vertices = REGIONS[region]
    neutral = read_obj(folder / NEUTRAL)
    if len(neutral.vertices) != NUM_VERTICES:
        raise ValueError(f"{folder / NEUTRAL}: expected {NUM_VERTICES} vertices, found {len(neutral.vertices)}")
    paths = [path for path in sorted(folder.glob("*.obj")) if path.name != NEUTRAL]
    shapes = [path for path in paths if not _IDENTITY.fullmatch(path.stem)]
    modes = [path for path in paths if _IDENTITY.fullmatch(path.stem)] if identity else []
    if not shapes:
        raise ValueError(f"{folder} is not an ICT FaceXModel folder: it has no expression shapes besides {NEUTRAL}")

    def read(path: Path, done: int) -> NDArray[np.float32]:
        vertices = read_obj_vertices(path)
        if len(vertices) != NUM_VERTICES:
            raise ValueError(f"{path}: expected {NUM_VERTICES} vertices as in {NEUTRAL}, found {len(vertices)}")
        if progress is not None:
            progress(done, len(shapes) + len(modes))
        return displacements(vertices[:num_vertices], neutral.vertices[:num_vertices]).astype(np.float32)

    expression = np.stack([read(path, done) for done, path in enumerate(shapes, 1)])
    moves = [bool(np.abs(shape).max() >= MIN_PEAK) for shape in expression]
    individual = [read(path, done) for done, path in enumerate(modes, len(shapes) + 1)]
    triangles = neutral.triangles()
    return RigParts(
        neutral=torch.from_numpy(neutral.vertices[:num_vertices].astype(np.float32)),
        faces=torch.from_numpy(triangles[(triangles < num_vertices).all(1)]),
        blendshapes=torch.from_numpy(expression[moves]),
        names=tuple(path.stem for path, kept in zip(shapes, moves, strict=True) if kept),
        identity=torch.from_numpy(np.stack(individual)) if individual else torch.empty(0),
        identity_names=tuple(path.stem for path in modes),
        provenance={
            "source": "ICT-FaceKit FaceXModel",
            "licence": "MIT, USC Institute for Creative Technologies",
            "region": region,
            "dropped_shapes": ", ".join(path.stem for path, kept in zip(shapes, moves, strict=True) if not kept),
        },
    )


def displacements(vertices: NDArray[np.float64], neutral: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shape minus neutral (N, 3) [cm], exactly zero where no coordinate differs by more than its rounding.

    The files print six significant digits, so a vertex at rest often comes back one unit of the sixth digit away
    (1e-4 cm at a coordinate of 12 cm), or 1e-13 instead of 0. On a histogram over the model such vertices are a peak
    at exactly one unit, ten times higher than its neighbours: they count as unmoved, up to 1.5 units. A vertex that
    moves keeps all its decimals.
    """
    moved = vertices - neutral
    # Below 0.1 cm the files print more digits than the float32 tools that wrote them had: no unit is under 1e-6 cm.
    magnitude = np.maximum(np.abs(vertices), np.abs(neutral)).clip(min=0.1)
    unit = 10 ** (np.floor(np.log10(magnitude)) - 5)
    moved[(np.abs(moved) <= 1.5 * unit).all(1)] = 0
    return moved
