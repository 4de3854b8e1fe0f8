"""Rigs as glTF 2.0 files (.glb): shapes as morph targets, motion as an animation of their weights.

Needs the ``export`` extra.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from biomechau.files import replacing
from biomechau.rig.face_rig import FaceRig

if TYPE_CHECKING:
    from pygltflib import GLTF2

MISSING_EXPORT = 'glTF files need pygltflib: pip install "biomechau[export]"'
# glTF counts in metres.
CM_PER_UNIT = 100.0
_SKIN = [0.76, 0.53, 0.41, 1.0]  # linear red, green, blue, opacity


def export_available() -> bool:
    """Whether pygltflib is installed."""
    return find_spec("pygltflib") is not None


def write_glb(
    rig: FaceRig, path: str | Path, weights: npt.ArrayLike | None = None, fps: float = 25.0, name: str = "animation"
) -> None:
    """Write a rig as a binary glTF file.

    One mesh in metres that looks along +z with +y up, as glTF wants it, turned there if the rig lies otherwise. Each
    shape is a morph target, with its name in ``mesh.extras.targetNames``, where Blender, Unreal and three.js look for
    it. Normals are smooth; those of a target are exact at its full activation. Identity modes are not written. On
    failure an existing file stays as it was.

    Args:
        rig: the face.
        path: of the file.
        weights: (T, K) coefficients over time, written as an animation; none if not given.
        fps: frame rate of the weights [1/s]; frame n is at n / fps seconds.
        name: of the animation.

    Raises:
        ImportError: pygltflib is not installed.
        ValueError: weights of the wrong shape, or not finite.
        OSError: the file cannot be written.
    """
    if not export_available():
        raise ImportError(MISSING_EXPORT)
    if weights is not None:
        weights = np.asarray(weights, np.float32)
        if weights.ndim != 2 or weights.shape[1] != rig.num_shapes or not len(weights):
            raise ValueError(f"weights must have shape (T, {rig.num_shapes}) with T >= 1, got {weights.shape}")
        if not np.isfinite(weights).all():
            raise ValueError(f"weights are not finite at frame {int((~np.isfinite(weights)).any(1).argmax())}")
    data = b"".join(_document(rig, weights, fps, name).save_to_bytes())
    with replacing(path) as partial:
        partial.write_bytes(data)


def _document(rig: FaceRig, weights: npt.NDArray[np.float32] | None, fps: float, name: str) -> GLTF2:
    import pygltflib as gltf

    from biomechau import __version__

    turn = rig.axes.T.numpy() / CM_PER_UNIT
    neutral = rig.neutral.double().numpy() @ turn
    faces = rig.faces.numpy()
    normals = _normals(neutral, faces)
    buffer = _Buffer()
    attributes = gltf.Attributes(POSITION=buffer.add(neutral, bounds=True), NORMAL=buffer.add(normals))
    indices = buffer.add(faces.astype(np.uint32).reshape(-1), gltf.ELEMENT_ARRAY_BUFFER)
    targets: list[Any] = []
    for shape in rig.blendshapes:
        moved = shape.double().numpy() @ turn
        bent = _normals(neutral + moved, faces) - normals
        targets.append({"POSITION": buffer.add(moved, bounds=True), "NORMAL": buffer.add(bent)})
    primitive = gltf.Primitive(attributes=attributes, indices=indices, material=0, targets=targets)
    skin = gltf.PbrMetallicRoughness(baseColorFactor=_SKIN, metallicFactor=0.0, roughnessFactor=0.6)
    animations = []
    if weights is not None:
        times = (np.arange(len(weights)) / fps).astype(np.float32)
        sampler = gltf.AnimationSampler(
            input=buffer.add(times, None, bounds=True), output=buffer.add(weights.reshape(-1), None)
        )
        target = gltf.AnimationChannelTarget(node=0, path="weights")
        animations.append(
            gltf.Animation(name=name, samplers=[sampler], channels=[gltf.AnimationChannel(sampler=0, target=target)])
        )
    document = gltf.GLTF2(
        asset=gltf.Asset(version="2.0", generator=f"biomechau {__version__}"),
        scene=0,
        scenes=[gltf.Scene(nodes=[0])],
        nodes=[gltf.Node(mesh=0, name="face")],
        meshes=[
            gltf.Mesh(
                name="face",
                primitives=[primitive],
                weights=[0.0] * rig.num_shapes,
                extras={"targetNames": list(rig.names)},
            )
        ],
        # The mask is open at the eyes, the mouth and behind.
        materials=[gltf.Material(name="skin", pbrMetallicRoughness=skin, doubleSided=True, alphaCutoff=None)],
        animations=animations,
        accessors=buffer.accessors,
        bufferViews=buffer.views,
        buffers=[gltf.Buffer(byteLength=len(buffer.data))],
    )
    document.set_binary_blob(bytes(buffer.data))
    return document


class _Buffer:
    """The binary part of a file, with an accessor and a view for each array."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.accessors: list[Any] = []
        self.views: list[Any] = []

    def add(self, values: npt.NDArray[Any], target: int | None = 34962, bounds: bool = False) -> int:
        """Append an array, (n,) or (n, 3), of uint32 or else as float32; its accessor.

        Args:
            values: the array.
            target: what it is for: vertices by default, triangles, or None for an animation.
            bounds: also store the smallest and largest values, which glTF demands of positions and times.
        """
        import pygltflib as gltf

        whole = values.dtype == np.uint32
        values = values if whole else values.astype(np.float32)
        self.views.append(gltf.BufferView(buffer=0, byteOffset=len(self.data), byteLength=values.nbytes, target=target))
        # Bytes are little-endian; each value takes 4, so that all views are aligned.
        self.data += values.astype(values.dtype.newbyteorder("<")).tobytes()
        rows = values.reshape(len(values), -1)
        self.accessors.append(
            gltf.Accessor(
                bufferView=len(self.views) - 1,
                byteOffset=0,
                componentType=gltf.UNSIGNED_INT if whole else gltf.FLOAT,
                count=len(values),
                type=gltf.VEC3 if values.ndim == 2 else gltf.SCALAR,
                min=rows.min(0).tolist() if bounds else None,
                max=rows.max(0).tolist() if bounds else None,
            )
        )
        return len(self.accessors) - 1


def _normals(vertices: npt.NDArray[np.float64], faces: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(N, 3) mean normal of the triangles at each vertex, weighted by area; +z where there are none."""
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    crossed = np.repeat(np.cross(b - a, c - a), 3, 0)
    total = np.stack([np.bincount(faces.reshape(-1), axis, len(vertices)) for axis in crossed.T], 1)
    length = np.linalg.norm(total, axis=1, keepdims=True)
    return np.where(length > 0, total / np.where(length > 0, length, 1), (0.0, 0.0, 1.0))
