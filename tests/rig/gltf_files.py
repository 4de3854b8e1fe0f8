"""glTF files made by hand, of the parts that a test wants."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

VECTORS, WHOLE = "VEC3", "SCALAR"


class GltfWriter:
    """Collects arrays; ``document`` is the JSON, which a test may change before it writes the file."""

    def __init__(self) -> None:
        self.data = b""
        self.document: dict[str, Any] = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}

    def view(self, values: npt.NDArray[Any], **more: int) -> int:
        self.document["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": values.nbytes, **more}
        )
        self.data += values.tobytes() + b"\0" * (-values.nbytes % 4)
        return len(self.document["bufferViews"]) - 1

    def accessor(self, values: npt.NDArray[Any], **more: Any) -> int:
        kind = {"float32": 5126, "uint32": 5125, "uint16": 5123, "uint8": 5121}[values.dtype.name]
        self.document["accessors"].append(
            {
                "bufferView": self.view(values),
                "componentType": kind,
                "count": len(values),
                "type": VECTORS if values.ndim == 2 else WHOLE,
                **more,
            }
        )
        return len(self.document["accessors"]) - 1

    def sparse(self, count: int, rows: npt.NDArray[Any], values: npt.NDArray[np.float32]) -> int:
        """An accessor of zeros but for some rows."""
        kind = {"uint16": 5123, "uint8": 5121}[rows.dtype.name]
        self.document["accessors"].append(
            {
                "componentType": 5126,
                "count": count,
                "type": VECTORS,
                "sparse": {
                    "count": len(rows),
                    "indices": {"bufferView": self.view(rows), "componentType": kind},
                    "values": {"bufferView": self.view(values)},
                },
            }
        )
        return len(self.document["accessors"]) - 1

    def write_glb(self, path: Path) -> Path:
        text = json.dumps({**self.document, "buffers": [{"byteLength": len(self.data)}]}).encode()
        text += b" " * (-len(text) % 4)
        size = 12 + 8 + len(text) + 8 + len(self.data)
        parts = struct.pack("<4sII", b"glTF", 2, size), struct.pack("<I4s", len(text), b"JSON"), text
        path.write_bytes(b"".join((*parts, struct.pack("<I4s", len(self.data), b"BIN\0"), self.data)))
        return path

    def write_gltf(self, path: Path, uri: str | None = None) -> Path:
        """With the buffer in the file or, if ``uri`` is given, in a file of this name beside it."""
        if uri is None:
            uri = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
        else:
            (path.parent / uri).write_bytes(self.data)
        path.write_text(json.dumps({**self.document, "buffers": [{"uri": uri, "byteLength": len(self.data)}]}))
        return path


# Two triangles that form a square, cut apart: vertices 1 and 3, and 2 and 5, are at one place.
SQUARE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], np.float32)
OPEN = 0.1 * SQUARE


def square(names: tuple[str, ...] = ("jawOpen", "mouthSmileLeft", "still")) -> GltfWriter:
    """The square with three shapes: one is dense, one is sparse, one moves nothing."""
    writer = GltfWriter()
    position = writer.accessor(SQUARE)
    dense = writer.accessor(OPEN)
    sparse = writer.sparse(6, np.array([4], np.uint8), np.array([[0, 0, 0.5]], np.float32))
    corners = writer.accessor(np.arange(6, dtype=np.uint16))
    primitive = {
        "attributes": {"POSITION": position},
        "indices": corners,
        "targets": [{"POSITION": dense}, {"POSITION": sparse}, {}],
    }
    writer.document["meshes"] = [{"name": "head", "primitives": [primitive], "extras": {"targetNames": list(names)}}]
    writer.document["nodes"] = [{"mesh": 0}]
    return writer
