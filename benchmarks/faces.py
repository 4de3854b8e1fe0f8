"""The faces that the benchmarks run on: ICT-FaceKit where it is given, else the built-in face at the same sizes."""

from __future__ import annotations

import os
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import torch
from torch import Tensor

from biomechau import Distribution, FaceDynamics, FaceRig, PhysicsConfig
from biomechau.models.chebyshev import scaled_laplacian
from biomechau.ops import SparseMatrix

# The face area and all of ICT-FaceKit's vertices.
FACE, ALL = 9_409, 26_719
_CACHE = Path(__file__).parents[1] / ".benchmarks"
_ARCHIVE = "ict-facekit/ict-facekit.tar.xz"


@dataclass(frozen=True, eq=False)
class Face:
    """A rig with its muscles and the operators that the cases need, all float32 on the CPU."""

    rig: FaceRig
    source: str

    def __str__(self) -> str:
        sizes = self.rig.num_vertices, len(self.blendshapes), self.distribution.shape[1]
        return f"{self.source} with N = {sizes[0]}, K = {sizes[1]}, M = {sizes[2]}"

    @cached_property
    def distribution(self) -> Distribution:
        """P (N, M)."""
        return Distribution.from_rig(self.rig)

    @cached_property
    def dynamics(self) -> FaceDynamics:
        """The default setting: elastic law, fibre forces, implicit Euler."""
        return FaceDynamics(self.rig, self.distribution)

    @cached_property
    def paper(self) -> FaceDynamics:
        """The paper's setting: vector forces, explicit Euler."""
        return FaceDynamics(self.rig, self.distribution, PhysicsConfig.paper())

    @property
    def blendshapes(self) -> Tensor:
        """B (K, N, 3), the shapes that the dynamics keep."""
        return self.dynamics.blendshapes

    @cached_property
    def laplacian(self) -> SparseMatrix:
        """The scaled mesh Laplacian (N, N)."""
        return scaled_laplacian(self.rig.edges, self.rig.num_vertices).to(torch.float32)


def rig_path(given: Path | None) -> Path | None:
    """What ``--rig`` names, else the archive in BIOMECHAU_TEST_DATA, else None for the built-in face.

    Raises:
        FileNotFoundError: a path that does not exist.
    """
    folder = os.environ.get("BIOMECHAU_TEST_DATA")
    path = given or (Path(folder) / _ARCHIVE if folder else None)
    if path is not None and not path.exists():
        raise FileNotFoundError(f"there is no rig {path}")
    return path


@cache
def face(num_vertices: int, path: Path | None = None) -> Face:
    """The face with N vertices: of the ICT rig at ``path`` its first N, without a path the built-in one.

    Raises:
        ValueError: the rig at ``path`` has fewer vertices.
    """
    if path is None:
        return Face(FaceRig.builtin(num_vertices), "built-in face")
    rig = _ict(path)
    if rig.num_vertices < num_vertices:
        raise ValueError(f"{path} has {rig.num_vertices} vertices, expected at least {num_vertices}: import region all")
    triangles = rig.faces[(rig.faces < num_vertices).all(1)]
    part = FaceRig(rig.neutral[:num_vertices], triangles, rig.blendshapes[:, :num_vertices].contiguous(), rig.names)
    return Face(part, "ICT-FaceKit")


@cache
def _ict(path: Path) -> FaceRig:
    """All vertices of ICT-FaceKit from a rig file, a FaceXModel folder, or the packed FaceXModel."""
    if path.is_dir():
        return FaceRig.from_ict(path, region="all", identity=False)
    if not path.name.endswith(".tar.xz"):
        return FaceRig.load(path)
    kept = _CACHE / f"ict-{path.stat().st_size}-{path.stat().st_mtime_ns}.safetensors"
    if not kept.exists():
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(path) as tar:
                members = [m for m in tar if m.name.startswith("FaceXModel/") and "identity" not in m.name]
                tar.extractall(folder, members, filter="data")
            rig = FaceRig.from_ict(Path(folder) / "FaceXModel", region="all", identity=False)
        _CACHE.mkdir(exist_ok=True)
        rig.save(kept)
    return FaceRig.load(kept)
