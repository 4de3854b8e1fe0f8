"""FaceRig: a neutral mesh and its blendshapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from biomechau.file_errors import naming as naming_file, quote
from biomechau.rig import names as naming
from biomechau.rig._fit import Bound, fit_coefficients
from biomechau.rig._gltf_import import read_gltf
from biomechau.rig._obj_directory import read_obj_directory
from biomechau.rig._rig_parts import RigParts
from biomechau.rig._storage import load_rig, save_rig
from biomechau.rig.ict import read_ict
from biomechau.rig.left_over import LeftOverSums
from biomechau.rig.orientation import face_axes

if TYPE_CHECKING:
    import trimesh


@dataclass(frozen=True, eq=False, repr=False)
class FaceRig:
    """A face that deforms by u = sum_k c_k B_k (Eq. 3).

    Attributes:
        neutral: (N, 3) float32, vertex positions at rest [cm].
        faces: (F, 3) int64, triangles, counter-clockwise seen from outside.
        blendshapes: (K, N, 3) float32, displacement of each vertex at full activation of each shape [cm].
        names: K shape names, unique in every spelling (:func:`biomechau.rig.names.canonical`).
        identity: (I, N, 3) float32, displacement of the neutral by each identity mode [cm]; I may be 0.
        identity_names: I names.
        provenance: origin of the rig, free text by key ("source", "region", "licence", ...).

    Raises:
        TypeError: a field that is not a tensor or has the wrong dtype, names that are not a sequence of strings.
        ValueError: inconsistent shapes, a value that is not finite, duplicate names, a face index out of range.
    """

    neutral: Tensor
    faces: Tensor
    blendshapes: Tensor
    names: tuple[str, ...]
    identity: Tensor = field(default_factory=lambda: torch.empty(0))
    identity_names: tuple[str, ...] = ()
    provenance: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("names", "identity_names"):
            object.__setattr__(self, name, naming.name_tuple(getattr(self, name), name))
        for name in ("neutral", "faces", "blendshapes", "identity"):
            if not isinstance(getattr(self, name), Tensor):
                raise TypeError(f"{name} must be a torch.Tensor, got {type(getattr(self, name)).__name__}")
        if self.identity.shape == (0,):
            object.__setattr__(self, "identity", self.neutral.new_empty((0, *self.neutral.shape)))
        for name in ("neutral", "blendshapes", "identity"):
            if getattr(self, name).dtype != torch.float32:
                raise TypeError(f"{name} must be float32, got {getattr(self, name).dtype}")
        if self.faces.dtype != torch.int64:
            raise TypeError(f"faces must be int64, got {self.faces.dtype}")
        if self.neutral.ndim != 2 or self.neutral.shape[-1] != 3 or not self.neutral.numel():
            raise ValueError(f"neutral must have shape (N, 3) with N > 0, got {tuple(self.neutral.shape)}")
        if self.faces.ndim != 2 or self.faces.shape[-1] != 3:
            raise ValueError(f"faces must have shape (F, 3), got {tuple(self.faces.shape)}")
        for name, shape_names in (("blendshapes", self.names), ("identity", self.identity_names)):
            expected = (len(shape_names), self.num_vertices, 3)
            if getattr(self, name).shape != expected:
                raise ValueError(
                    f"{name} must have shape {expected}: {expected[0]} names and {expected[1]} vertices of the "
                    f"neutral, got {tuple(getattr(self, name).shape)}"
                )
            naming.index_by_name(shape_names, f"{name} names")
        if self.faces.numel() and not 0 <= int(self.faces.min()) <= int(self.faces.max()) < self.num_vertices:
            bad = int(((self.faces < 0) | (self.faces >= self.num_vertices)).any(1).nonzero()[0])
            raise ValueError(f"face {bad} is {self.faces[bad].tolist()}: indices must lie in [0, {self.num_vertices})")
        self._check_finite()

    def _check_finite(self) -> None:
        named = [("neutral", self.neutral)]
        named += [(f"shape {quote(name)}", block) for name, block in zip(self.names, self.blendshapes, strict=True)]
        named += [
            (f"identity mode {quote(name)}", b) for name, b in zip(self.identity_names, self.identity, strict=True)
        ]
        for what, block in named:
            # A float64 sum of float32 values is finite if and only if all of them are, and is the fastest check.
            if not torch.isfinite(block.sum(dtype=torch.float64)):
                vertex = int((~torch.isfinite(block)).any(-1).nonzero()[0])
                raise ValueError(f"{what} is not finite at vertex {vertex}: {block[vertex].tolist()}")

    def __repr__(self) -> str:
        identity = f", {len(self.identity)} identity modes" if len(self.identity) else ""
        return (
            f"FaceRig({self.num_vertices} vertices, {len(self.faces)} faces, {len(self.names)} blendshapes{identity})"
        )

    @property
    def num_vertices(self) -> int:
        """N."""
        return self.neutral.shape[0]

    @property
    def num_shapes(self) -> int:
        """K."""
        return self.blendshapes.shape[0]

    @property
    def mesh(self) -> trimesh.Trimesh:
        """The neutral as a trimesh mesh, with the rig's own vertex and face order."""
        # Here, because importing trimesh takes half a second that every command would wait for.
        import trimesh

        return trimesh.Trimesh(self.neutral.cpu().numpy(), self.faces.cpu().numpy(), process=False, validate=False)

    @cached_property
    def edges(self) -> Tensor:
        """(E, 2) int64, each undirected mesh edge once, smaller index first."""
        return torch.from_numpy(self.mesh.edges_unique.copy()).to(self.faces)

    @cached_property
    def vertex_masses(self) -> Tensor:
        """(N,) barycentric vertex areas scaled to a sum of 1; 0 for vertices without triangles.

        Raises:
            ValueError: the mesh has no area.
        """
        thirds = torch.from_numpy(self.mesh.area_faces.copy()).to(self.faces.device) / 3
        areas = thirds.new_zeros(self.num_vertices).index_add_(0, self.faces.flatten(), thirds.repeat_interleave(3))
        if not areas.sum() > 0:
            raise ValueError("the rig's triangles have no area, so its vertices have no mass")
        return (areas / areas.sum()).to(self.neutral.dtype)

    @cached_property
    def axes(self) -> Tensor:
        """(3, 3) float64, the subject's left, up and front as rows, see :func:`biomechau.rig.orientation.face_axes`."""
        return face_axes(self.neutral.cpu(), self.faces.cpu(), self.blendshapes.cpu(), self.names)

    def shape_indices(self, names: Sequence[str]) -> list[int]:
        """Index of each named shape, in the given order; any spelling that :mod:`biomechau.rig.names` knows.

        Raises:
            TypeError: names that are not a sequence of strings.
            ValueError: the rig lacks some of the names.
        """
        names = naming.name_tuple(names, "names")
        index = naming.index_by_name(self.names, "shape names")
        unknown = [name for name in names if naming.canonical(name) not in index]
        if unknown:
            raise ValueError(
                f"the rig has no shapes {naming.shortened(list(map(repr, unknown)))}; it has {', '.join(self.names)}"
            )
        return [index[naming.canonical(name)] for name in names]

    def select(self, names: Sequence[str]) -> FaceRig:
        """The same face with only these shapes, in this order.

        Raises:
            TypeError: names that are not a sequence of strings.
            ValueError: a name that the rig lacks, or a duplicate name.
        """
        chosen = self.shape_indices(names)
        return replace(self, blendshapes=self.blendshapes[chosen], names=tuple(self.names[i] for i in chosen))

    def with_identity(self, weights: Tensor) -> FaceRig:
        """The face of another person: neutral + sum_i w_i identity_i, with the same blendshapes and identity modes.

        ``provenance["identity_weights"]`` lists the weights that are not 0, after those of earlier calls.

        Args:
            weights: (I,) float32, about N(0, 1) for a plausible face.

        Raises:
            TypeError: weights that are not float32.
            ValueError: weights of the wrong shape, or not finite.
        """
        if weights.dtype != self.identity.dtype:
            raise TypeError(f"weights must be {self.identity.dtype}, got {weights.dtype}")
        if weights.shape != self.identity.shape[:1]:
            raise ValueError(
                f"weights must have shape ({len(self.identity)},), one per identity mode, got {tuple(weights.shape)}"
            )
        if not torch.isfinite(weights).all():
            raise ValueError("weights must be finite")
        used = [f"{name}={w:g}" for name, w in zip(self.identity_names, weights.tolist(), strict=True) if w]
        trace = "; ".join(filter(None, (self.provenance.get("identity_weights"), ", ".join(used))))
        return replace(
            self,
            neutral=self.neutral + torch.tensordot(weights, self.identity, 1),
            provenance={**self.provenance, "identity_weights": trace} if trace else self.provenance,
        )

    def map_channels(self, channel_names: Sequence[str]) -> naming.ChannelMap:
        """Match the channels of a capture to the shapes, see :func:`biomechau.rig.names.map_channels`."""
        return naming.map_channels(channel_names, self.names)

    @classmethod
    def builtin(cls, num_vertices: int = 5000) -> FaceRig:
        """The procedural face that ships with the package: a face mask with ARKit-style shapes, no download.

        It is exactly mirror-symmetric, connected, and the same on every call; x points to the subject's left, y up, z
        out of the face.

        Args:
            num_vertices: the exact number of vertices N, 1,000 to 50,000.

        Raises:
            TypeError: ``num_vertices`` is not an integer.
            ValueError: ``num_vertices`` is out of range.
        """
        # Here, because only this face needs those parts of scipy, which take a third of a second to import.
        from biomechau.rig._builtin import builtin_face

        return cls(*builtin_face(num_vertices))

    @classmethod
    def from_ict(
        cls,
        folder: str | Path,
        region: str = "face",
        identity: bool = True,
        progress: Callable[[int, int], None] | None = None,
    ) -> FaceRig:
        """The rig of a ``FaceXModel`` folder of ICT-FaceKit, see :func:`biomechau.rig.ict.read_ict`.

        Args:
            folder: path of ``FaceXModel``.
            region: ``"face"`` (9,409 vertices), ``"head"`` (11,248) or ``"all"`` (26,719).
            identity: also read the identity modes.
            progress: called with (files read, files in all).

        Raises:
            ValueError: an unknown region, not a FaceXModel folder, or a broken file.
            OSError: a file cannot be read.
        """
        return cls(*read_ict(folder, region, identity, progress))

    @classmethod
    def from_obj_directory(
        cls,
        folder: str | Path,
        neutral: str | None = None,
        scale: float = 1.0,
        progress: Callable[[int, int], None] | None = None,
    ) -> FaceRig:
        """The rig of a folder of OBJ or PLY meshes; every file except the neutral is one shape, named after the file.

        What a program has put before or behind all names is no part of them, nor is a version (``smile_v002.obj``), of
        which the newest is taken. Shapes equal to the neutral are dropped. ``provenance`` names what was dropped, left
        out and renamed.

        Args:
            folder: contains at least two mesh files with the same vertices and faces; faces may be in any order.
            neutral: name of the neutral's file, case-insensitive, with or without ending and version; if not given, the
                file whose name says neutral, basis, base, rest or default.
            scale: centimetres per unit of the files.
            progress: called with (shapes read, shapes in all).

        Raises:
            ValueError: no mesh files, no neutral, no shapes, no faces, files that do not match, or a broken file.
            OSError: the folder or a file cannot be read.
        """
        return cls(*read_obj_directory(folder, neutral, scale, progress))

    @classmethod
    def from_gltf(cls, path: str | Path, scale: float = 100.0) -> FaceRig:
        """The rig of a ``.glb`` or ``.gltf`` file whose mesh has morph targets, one shape each.

        Shapes are named as in the file, without what a program has put before or behind all names. Shapes that move
        nothing are dropped. ``provenance`` names what was dropped, left out and renamed.

        Args:
            path: the file.
            scale: centimetres per unit of the file; glTF's is the metre.

        Raises:
            ValueError: no mesh with morph targets, two shapes of one name, or a broken file; the message names it.
            OSError: the file, or one that it needs, cannot be read.
        """
        parts = read_gltf(path, scale)
        with naming_file(path):
            return cls(*parts)

    @classmethod
    def load(cls, path: str | Path) -> FaceRig:
        """Read a rig file that :meth:`save` wrote.

        Raises:
            ValueError: not a complete rig file of this version; the message names the file and the tensor.
            OSError: the file cannot be read.
        """
        parts = load_rig(path)
        try:
            return cls(*parts)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | Path) -> None:
        """Write the rig as one safetensors file; on failure an existing file stays as it was.

        Raises:
            OSError: the file cannot be written.
        """
        save_rig(RigParts(*(getattr(self, field) for field in RigParts._fields)), path)

    def fit(
        self,
        vertices: Tensor,
        ridge: float = 1e-4,
        bounds: tuple[Bound, Bound] = (0.0, 1.0),
        masses: Tensor | None = None,
        shapes: Sequence[str] | None = None,
        rigid: bool = False,
        progress: Callable[[int, int], None] | None = None,
        left_over: LeftOverSums | None = None,
    ) -> Tensor:
        """Coefficients of each frame by bounded ridge regression in the mass norm.

        c = argmin sum_i m_i |x_i - neutral_i - B(i) c|^2 + ridge tr(G)/K |c|^2 over lower <= c <= upper (the inverse of
        Eq. 3), with G = sum_i m_i B(i)^T B(i). With ``rigid`` the head's rotation and translation are fitted together
        with c and removed. Not differentiable.

        Args:
            vertices: positions [cm], (..., N, 3) float32 or float64.
            ridge: weight of |c|^2 relative to the mean diagonal of G, >= 0.
            bounds: lower and upper bound, each a number or K numbers (one per fitted shape); infinite for none.
            masses: (N,) weights >= 0; ``rig.vertex_masses`` if not given.
            shapes: names of the shapes to fit, all if not given; the others get coefficient 0.
            rigid: also fit the rigid motion of the head.
            progress: called with (frames done, frames in all).
            left_over: takes what the fit leaves over of the meshes.

        Returns:
            Coefficients (..., K) in the dtype of ``vertices``.

        Raises:
            TypeError: vertices or masses that are not float32 or float64.
            ValueError: a tensor of the wrong shape, a value that is not finite (named by frame and vertex), unknown
                names, no shape to fit, lower >= upper, linearly dependent shapes while ``ridge`` is 0, a rigid
                alignment that does not converge (named by frame).
        """
        chosen = list(range(self.num_shapes)) if shapes is None else self.shape_indices(shapes)
        masses = self.vertex_masses if masses is None else masses
        return fit_coefficients(
            self.neutral, self.blendshapes, vertices, chosen, masses, ridge, bounds, rigid, progress, left_over
        )
