"""glTF files: what is written, what is read, what is refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rig.gltf_files import OPEN, SQUARE, GltfWriter, square

from biomechau.rig import FaceRig
from biomechau.rig.gltf_export import write_glb


def arrays(path: Path) -> tuple[Any, Callable[[int], np.ndarray]]:
    """A file as pygltflib reads it, and its accessors."""
    gltf = pytest.importorskip("pygltflib").GLTF2().load(str(path))
    blob = gltf.binary_blob()

    def array(index: int) -> np.ndarray:
        accessor = gltf.accessors[index]
        view = gltf.bufferViews[accessor.bufferView]
        columns = {"SCALAR": 1, "VEC3": 3}[accessor.type]
        kind = {5125: "<u4", 5126: "<f4"}[accessor.componentType]
        values = np.frombuffer(blob, kind, accessor.count * columns, view.byteOffset + accessor.byteOffset)
        return values.reshape(-1, columns)

    return gltf, array


def test_a_rig_is_written_in_metres_with_its_shapes_by_name(tiny_rig: FaceRig, tmp_path: Path) -> None:
    pytest.importorskip("pygltflib")
    write_glb(tiny_rig, tmp_path / "face.glb")
    gltf, array = arrays(tmp_path / "face.glb")
    (mesh,) = gltf.meshes
    (primitive,) = mesh.primitives
    assert mesh.extras["targetNames"] == list(tiny_rig.names)
    assert mesh.weights == [0.0] * tiny_rig.num_shapes
    assert gltf.animations == []
    np.testing.assert_array_equal(array(primitive.indices).reshape(-1, 3), tiny_rig.faces)
    np.testing.assert_allclose(100 * array(primitive.attributes.POSITION), tiny_rig.neutral, atol=1e-5)
    lengths = np.linalg.norm(array(primitive.attributes.NORMAL), axis=1)
    np.testing.assert_allclose(lengths, 1, atol=1e-5)
    assert array(primitive.attributes.NORMAL)[:, 2].min() > 0
    for target, shape in zip(primitive.targets, tiny_rig.blendshapes, strict=True):
        np.testing.assert_allclose(100 * array(target["POSITION"]), shape, atol=1e-5)
        bounds = gltf.accessors[target["POSITION"]]
        np.testing.assert_array_equal(array(target["POSITION"]).max(0), bounds.max)


def test_a_rig_that_lies_otherwise_is_turned(tiny_rig: FaceRig, tmp_path: Path) -> None:
    pytest.importorskip("pygltflib")
    turn = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])  # z up, -y to the front
    lying = FaceRig(tiny_rig.neutral @ turn, tiny_rig.faces, tiny_rig.blendshapes @ turn, tiny_rig.names)
    assert not torch.equal(lying.axes, torch.eye(3, dtype=torch.float64))
    write_glb(lying, tmp_path / "face.glb")
    back = FaceRig.from_gltf(tmp_path / "face.glb")
    torch.testing.assert_close(back.neutral, lying.neutral @ lying.axes.T.float(), atol=1e-5, rtol=0)
    torch.testing.assert_close(back.axes, torch.eye(3, dtype=torch.float64))


def test_what_is_written_is_read_back(tiny_rig: FaceRig, tmp_path: Path) -> None:
    pytest.importorskip("pygltflib")
    write_glb(tiny_rig, tmp_path / "face.glb")
    back = FaceRig.from_gltf(tmp_path / "face.glb")
    assert back.names == tiny_rig.names
    assert torch.equal(back.faces, tiny_rig.faces)
    torch.testing.assert_close(back.neutral, tiny_rig.neutral, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.blendshapes, tiny_rig.blendshapes, atol=1e-5, rtol=0)
    assert back.provenance["source"] == "glTF file face.glb"


@pytest.mark.parametrize("weights", [np.zeros((0, 8)), np.zeros((3, 7)), np.full((3, 8), np.nan)])
def test_wrong_weights_are_refused(tiny_rig: FaceRig, tmp_path: Path, weights: np.ndarray) -> None:
    pytest.importorskip("pygltflib")
    with pytest.raises(ValueError, match="weights"):
        write_glb(tiny_rig, tmp_path / "face.glb", weights)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("form", ["glb", "data", "file"])
def test_sparse_shapes_split_vertices_and_names(tmp_path: Path, form: str) -> None:
    writer = square(("head.jawOpen", "head.mouthSmileLeft", "head.still"))
    if form == "glb":
        path = writer.write_glb(tmp_path / "face.glb")
    else:
        path = writer.write_gltf(tmp_path / "face.gltf", "a face.bin" if form == "file" else None)
    rig = FaceRig.from_gltf(path)
    assert rig.names == ("jawOpen", "mouthSmileLeft")
    assert rig.provenance["dropped_shapes"] == "still"
    assert rig.provenance["joined_vertices"] == "2"
    # Vertex 4 moves apart from the others; 3 and 5 are 1 and 2.
    assert rig.faces.tolist() == [[0, 1, 2], [1, 3, 2]]
    torch.testing.assert_close(rig.neutral, torch.from_numpy(100 * SQUARE[[0, 1, 2, 4]]))
    torch.testing.assert_close(rig.blendshapes[0], torch.from_numpy(100 * OPEN[[0, 1, 2, 4]]))
    assert rig.blendshapes[1].nonzero().tolist() == [[3, 2]]
    torch.testing.assert_close(FaceRig.from_gltf(path, 1.0).neutral * 100, rig.neutral)


def test_the_nodes_scale_turn_and_move(tmp_path: Path) -> None:
    writer = square()
    half = math.sqrt(0.5)
    writer.document["nodes"] = [
        {"children": [1], "scale": [0.01, 0.01, 0.01], "translation": [0, 0, 5]},
        {"mesh": 0, "rotation": [0, 0, half, half]},
    ]
    rig = FaceRig.from_gltf(writer.write_glb(tmp_path / "face.glb"))
    # A quarter turn about z: x to y.
    torch.testing.assert_close(rig.neutral[1], torch.tensor([0.0, 1.0, 500.0]))
    torch.testing.assert_close(rig.blendshapes[0, 1], torch.tensor([0.0, 0.1, 0.0]))
    writer.document["nodes"] = [{"mesh": 0, "matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]}]
    rig = FaceRig.from_gltf(writer.write_glb(tmp_path / "mirrored.glb"))
    assert rig.faces.tolist() == [[2, 1, 0], [2, 3, 1]]


def test_the_largest_mesh_with_shapes_is_read(tmp_path: Path) -> None:
    writer = square()
    small = writer.accessor(SQUARE[:3])
    teeth = {"attributes": {"POSITION": small}, "targets": [{"POSITION": small}]}
    plain = {"attributes": {"POSITION": 0}}
    writer.document["meshes"] = [
        {"name": "hair", "primitives": [plain, plain]},
        {"name": "teeth", "primitives": [teeth]},
        *writer.document["meshes"],
    ]
    writer.document["nodes"] = []
    rig = FaceRig.from_gltf(writer.write_glb(tmp_path / "face.glb"))
    assert (rig.provenance["mesh"], rig.provenance["other_meshes"], rig.num_shapes) == ("head", "teeth", 2)


def _primitive(writer: GltfWriter) -> dict[str, Any]:
    return writer.document["meshes"][0]["primitives"][0]


def _set(*path: Any) -> Callable[[GltfWriter], None]:
    """Sets an entry of the JSON: keys, then the value."""

    def change(writer: GltfWriter) -> None:
        *keys, last, value = path
        place = writer.document
        for key in keys:
            place = place[key]
        place[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_set("asset", {"version": "1.0"}), "expected glTF 2.0, found version '1.0'"),
        (_set("asset", 3), 'found no "asset"'),
        (_set("meshes", []), "expected a mesh with morph targets"),
        (_set("meshes", {}), '"meshes": expected a list of objects'),
        (_set("extensionsRequired", ["KHR_draco_mesh_compression"]), "export it without compression"),
        (_set("accessors", 0, "count", 10**6), "expected 1000000 values of 12 bytes, the buffer ends before"),
        (_set("accessors", 1, "count", 5), "expected 6 values, one per vertex, found 5"),
        (_set("accessors", 0, "type", "VEC2"), "expected the type VEC3, found 'VEC2'"),
        (_set("accessors", 0, "componentType", 5123), "expected floats (5126), found component type 5123"),
        (_set("accessors", 0, "bufferView", 99), "expected one of 5 bufferViews, found 99"),
        (_set("accessors", 3, "count", 5), "expected three indices per triangle, found 5"),
        (_set("accessors", 2, "sparse", "count", 9), "expected 9 values"),
        (_set("bufferViews", 0, "byteStride", 4), "its place in the buffer is broken"),
        (_set("meshes", 0, "extras", {"targetNames": ["a"]}), "expected 3 names, one per morph target"),
        (_set("meshes", 0, "extras", {"targetNames": ["jawOpen", "JawOpen", "c"]}), "are one name"),
        (lambda writer: _primitive(writer).update(mode=1), "expected triangles (mode 4), found 1"),
        (lambda writer: _primitive(writer)["attributes"].pop("POSITION"), '"POSITION" is missing'),
        (lambda writer: _primitive(writer).update(targets=3 * [{}]), "none of its morph targets moves a vertex"),
        (_set("nodes", [{"mesh": 0, "scale": [1, 0, 1]}]), "flattens the face"),
        (_set("nodes", [{"mesh": 0, "scale": [1, 1]}]), '"scale": expected 3 numbers'),
        (_set("nodes", [{"mesh": 0, "children": [0]}]), "go round in a circle"),
    ],
)
def test_broken_files_are_refused_by_name(tmp_path: Path, change: Callable[[GltfWriter], None], words: str) -> None:
    writer = square()
    change(writer)
    path = writer.write_glb(tmp_path / "face.glb")
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{re.escape(words)}"):
        FaceRig.from_gltf(path)


def test_values_out_of_range_and_cut_files(tmp_path: Path) -> None:
    for nan in (np.float32(np.nan).tobytes(), b"\x01\x00\x80\x7f"):  # quiet and signalling
        writer = square()
        writer.data = nan + writer.data[4:]
        with pytest.raises(ValueError, match="accessor 0: expected finite numbers"):
            FaceRig.from_gltf(writer.write_glb(tmp_path / "nan.glb"))
    whole = square().write_glb(tmp_path / "whole.glb").read_bytes()
    (tmp_path / "cut.glb").write_bytes(whole[:-9])
    with pytest.raises(ValueError, match="cut.glb: the file is cut short"):
        FaceRig.from_gltf(tmp_path / "cut.glb")
    (tmp_path / "text.glb").write_text("o face")
    with pytest.raises(ValueError, match="text.glb: expected a glTF 2.0 file, found no JSON"):
        FaceRig.from_gltf(tmp_path / "text.glb")


@pytest.mark.parametrize("uri", ["../face.bin", "/etc/face.bin", "http://localhost/face.bin", "..\\face.bin"])
def test_only_files_beside_it_are_read(tmp_path: Path, uri: str) -> None:
    writer = square()
    path = tmp_path / "face.gltf"
    writer.write_gltf(path, "face.bin")
    path.write_text(path.read_text().replace('"face.bin"', f'"{uri}"'.replace("\\", "\\\\")))
    with pytest.raises(ValueError, match="expected a file beside this one"):
        FaceRig.from_gltf(path)
