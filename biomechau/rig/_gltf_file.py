"""The JSON of a glTF 2.0 file, .glb or .gltf, and the arrays in its buffers.

Decoded here: pygltflib, which writes such files, leaves accessors to its caller and does not check what it reads.
"""

from __future__ import annotations

import base64
import binascii
import struct
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote, reason, regular_file
from biomechau.json_file import between, entry, is_count, is_object, is_text, list_of, parse_json

_MAGIC, _JSON, _BINARY = b"glTF", b"JSON", b"BIN\0"
_DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_FLOAT, _WHOLE = 5126, (5121, 5123, 5125)
_COMPONENTS = {"SCALAR": 1, "VEC3": 3}
# Extensions that store vertices otherwise.
_PACKED = frozenset({"KHR_draco_mesh_compression", "EXT_meshopt_compression", "KHR_mesh_quantization"})
_LARGEST_COORDINATE = 1e9
_DEEPEST = 1000  # nodes on a path; more is a circle
is_index = between(0, 2**31 - 1)


class GltfFile:
    """A glTF file.

    Raises:
        ValueError: not glTF 2.0, compressed meshes; here and in the methods, what is broken or not as it says.
        OSError: a file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        data = path.read_bytes()
        text, self._binary = _chunks(data) if data.startswith(_MAGIC) else (data, None)
        try:
            self._json = parse_json(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"expected a glTF 2.0 file, found no JSON: {reason(error)}") from error
        if not is_object(self._json) or not is_object(self._json.get("asset")):
            raise ValueError('expected a glTF 2.0 file, found no "asset"')
        if not str(self._json["asset"].get("version")).startswith("2."):
            raise ValueError(f"expected glTF 2.0, found version {quote(self._json['asset'].get('version'))}")
        needed = self._json.get("extensionsRequired", [])
        packed = sorted(_PACKED.intersection(needed)) if list_of(is_text)(needed) else []
        if packed:
            raise ValueError(f"its meshes are compressed ({', '.join(packed)}); export it without compression")
        self._buffers: dict[int, bytes] = {}

    def objects(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind, such as ``meshes``."""
        if kind not in self._json:
            return []
        return entry(self._json, kind, "a list of objects", list_of(is_object))

    def _object(self, kind: str, index: Any) -> dict[str, Any]:
        found = self.objects(kind)
        if type(index) is not int or not 0 <= index < len(found):
            raise ValueError(f"expected one of {len(found)} {kind}, found {quote(index)}")
        return found[index]

    def accessor(self, index: Any, kind: str, what: str, count: int | None = None) -> NDArray[np.float64]:
        """Floats (n,) or (n, 3), of ``count`` rows if given.

        Raises:
            ValueError: another type or number, beyond its buffer, or not finite.
        """
        accessor = self._object("accessors", index)
        if accessor.get("componentType") != _FLOAT:
            raise ValueError(f"{what}: accessor {index}: expected floats ({_FLOAT}), found {_found(accessor)}")
        values = self._values(accessor, f"{what}: accessor {index}", kind, count)
        with np.errstate(invalid="ignore"):  # numpy warns of a signalling NaN, which is refused here
            values = values.astype(np.float64)
        if not (np.abs(values) <= _LARGEST_COORDINATE).all():
            raise ValueError(f"{what}: accessor {index}: expected finite numbers of at most {_LARGEST_COORDINATE:g}")
        return values

    def indices(self, index: Any, size: int, what: str) -> NDArray[np.int64]:
        """Indices (n,) of vertices, all below ``size``."""
        accessor = self._object("accessors", index)
        if accessor.get("componentType") not in _WHOLE:
            raise ValueError(f"{what}: accessor {index}: expected whole numbers, found {_found(accessor)}")
        values = self._values(accessor, f"{what}: accessor {index}", "SCALAR", None).astype(np.int64)
        if values.size and values.max() >= size:
            raise ValueError(f"{what}: index {values.max()} is out of range: there are {size} vertices")
        return values

    def _values(self, accessor: dict[str, Any], what: str, kind: str, count: int | None) -> NDArray[Any]:
        if accessor.get("type") != kind:
            raise ValueError(f"{what}: expected the type {kind}, found {quote(accessor.get('type'))}")
        length = entry(accessor, "count", "a positive number", is_count, "accessor.")
        if count is not None and length != count:
            raise ValueError(f"{what}: expected {count} values, one per vertex, found {length}")
        dtype, columns = np.dtype(_DTYPES[accessor["componentType"]]), _COMPONENTS[kind]
        if "bufferView" in accessor:
            values = self._view(accessor, dtype, length, columns, what)
        elif count is None:  # all zeros, which take no room in the file
            raise ValueError(f"{what}: expected a buffer view")
        else:
            values = np.zeros((length, columns), dtype)
        if "sparse" in accessor:
            values = values.copy()
            self._fill_sparse(entry(accessor, "sparse", "an object", is_object), values, what)
        return values if columns > 1 else values[:, 0]

    def _fill_sparse(self, sparse: dict[str, Any], values: NDArray[Any], what: str) -> None:
        """Overwrite some rows."""
        count = entry(sparse, "count", "a positive number", is_count, "sparse.")
        where = entry(sparse, "indices", "an object", is_object, "sparse.")
        given = entry(sparse, "values", "an object", is_object, "sparse.")
        if where.get("componentType") not in _WHOLE:
            raise ValueError(f"{what}: sparse indices: expected whole numbers, found {_found(where)}")
        rows = self._view(where, np.dtype(_DTYPES[where["componentType"]]), count, 1, what)[:, 0].astype(np.int64)
        if rows.max() >= len(values):
            raise ValueError(f"{what}: sparse index {rows.max()} is out of range: there are {len(values)} values")
        values[rows] = self._view(given, values.dtype, count, values.shape[1], what)

    def _view(self, holder: dict[str, Any], dtype: np.dtype[Any], count: int, columns: int, what: str) -> NDArray[Any]:
        """(count, columns) values in a buffer."""
        view = self._object("bufferViews", holder.get("bufferView"))
        buffer = self._buffer(view.get("buffer"))
        start, size = view.get("byteOffset", 0), entry(view, "byteLength", "a positive number", is_count, "view.")
        offset, row = holder.get("byteOffset", 0), dtype.itemsize * columns
        stride = view.get("byteStride", row)
        if not all(map(is_index, (start, offset, stride))) or stride < row:
            raise ValueError(f"{what}: its place in the buffer is broken")
        if start + size > len(buffer) or offset + stride * (count - 1) + row > size:
            raise ValueError(f"{what}: expected {count} values of {row} bytes, the buffer ends before")
        return np.ndarray((count, columns), dtype, buffer, start + offset, (stride, dtype.itemsize))

    def _buffer(self, index: Any) -> bytes:
        buffer = self._object("buffers", index)
        if index not in self._buffers:
            uri = buffer.get("uri")
            if uri is None and self._binary is None:
                raise ValueError(f"buffer {index}: expected a uri, or the binary part of a .glb file")
            self._buffers[index] = (self._binary or b"") if uri is None else self._resource(uri)
        return self._buffers[index]

    def _resource(self, uri: Any) -> bytes:
        """The bytes in a ``data:`` address or in a file beside this one."""
        if not is_text(uri):
            raise ValueError(f'"uri": expected text, found {quote(uri)}')
        if uri.startswith("data:"):
            try:
                return base64.b64decode(uri.partition("base64,")[2], validate=True)
            except (ValueError, binascii.Error) as error:
                raise ValueError(f'"uri": not base64: {reason(error)}') from error
        name = Path(unquote(uri))
        if name.is_absolute() or ".." in name.parts or ":" in uri or "\\" in uri:
            raise ValueError(f'"uri": expected a file beside this one, found {quote(uri)}')
        file = self.path.parent / name
        regular_file(file)
        return file.read_bytes()

    def transformation(self, mesh: int) -> NDArray[np.float64]:
        """(4, 4) from the first node with a mesh to the scene; skins ignore that of their node, by glTF's rules."""
        nodes = self.objects("nodes")
        node = next((index for index, node in enumerate(nodes) if node.get("mesh") == mesh), None)
        if node is None or "skin" in nodes[node]:
            return np.eye(4)
        parents = {
            child: index
            for index, parent in enumerate(nodes)
            for child in (parent["children"] if list_of(is_index)(parent.get("children")) else ())
        }
        matrix = np.eye(4)
        for _ in range(_DEEPEST):
            matrix = _matrix(nodes[node], node) @ matrix
            if node not in parents:
                return matrix
            node = parents[node]
        raise ValueError(f"node {node}: its parents go round in a circle")


def _chunks(data: bytes) -> tuple[bytes, bytes | None]:
    """The JSON and the binary part of a .glb file."""
    parts: dict[bytes, bytes] = {}
    if len(data) < 12 or struct.unpack_from("<I", data, 4)[0] != 2:
        raise ValueError("expected a glTF 2.0 file, found another version or a cut header")
    place = 12
    while place + 8 <= len(data):
        size, kind = struct.unpack_from("<I4s", data, place)
        if place + 8 + size > len(data):
            raise ValueError(f"the file is cut short: expected {place + 8 + size} bytes, found {len(data)}")
        parts.setdefault(kind, data[place + 8 : place + 8 + size])
        place += 8 + size
    if _JSON not in parts:
        raise ValueError("expected a glTF 2.0 file, found no JSON part")
    return parts[_JSON], parts.get(_BINARY)


def _matrix(node: dict[str, Any], index: int) -> NDArray[np.float64]:
    """(4, 4) transformation of one node: its matrix, or translation, rotation (a quaternion) and scale."""
    from scipy.spatial.transform import Rotation

    def numbers(key: str, default: list[float]) -> NDArray[np.float64]:
        values = node.get(key, default)
        if not list_of(between(-_LARGEST_COORDINATE, _LARGEST_COORDINATE))(values) or len(values) != len(default):
            raise ValueError(f'node {index}: "{key}": expected {len(default)} numbers, found {quote(values)}')
        return np.array(values, float)

    if "matrix" in node:
        matrix = numbers("matrix", [0.0] * 16).reshape(4, 4).T  # column by column
    else:
        rotation = numbers("rotation", [0.0, 0.0, 0.0, 1.0])
        if not rotation.any():
            raise ValueError(f'node {index}: "rotation": expected a quaternion of length 1, found zeros')
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat(rotation).as_matrix() * numbers("scale", [1.0, 1.0, 1.0])
        matrix[:3, 3] = numbers("translation", [0.0, 0.0, 0.0])
    if not abs(np.linalg.det(matrix[:3, :3])) > 0:
        raise ValueError(f"node {index}: its transformation flattens the face")
    return matrix


def _found(accessor: dict[str, Any]) -> str:
    return f"component type {quote(accessor.get('componentType'))}"
