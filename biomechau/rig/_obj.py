"""A reader of Wavefront OBJ meshes that keeps every vertex, in the order of the file.

trimesh's own reader makes one vertex per pair of position and texture coordinate: ICT's neutral comes back with 28,911
vertices in another order instead of 26,719, and blendshapes could no longer be subtracted from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote

# Largest coordinate accepted, in any unit of length; far below the range of float32.
LARGEST_COORDINATE = 1e9
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, eq=False)
class ObjMesh:
    """The geometry of one OBJ file.

    Attributes:
        vertices: (N, 3) float64, in the order of the file.
        polygon_sizes: (P,) int64, number of corners of each polygon.
        corners: (sum of polygon_sizes,) int64, vertex of each corner, from 0.
    """

    vertices: NDArray[np.float64]
    polygon_sizes: NDArray[np.int64]
    corners: NDArray[np.int64]

    def triangles(self) -> NDArray[np.int64]:
        """(F, 3) triangles, in the order of the polygons; quads are cut along the shorter diagonal, others fanned."""
        starts = np.cumsum(self.polygon_sizes) - self.polygon_sizes
        fans = self.polygon_sizes - 2
        polygon = np.repeat(np.arange(len(fans)), fans)
        step = np.arange(fans.sum()) - np.repeat(np.cumsum(fans) - fans, fans)
        size = self.polygon_sizes[polygon]
        pivot = self._first_corner(starts)[polygon]
        local = np.stack([pivot, (pivot + step + 1) % size, (pivot + step + 2) % size], 1)
        return self.corners[starts[polygon][:, None] + local]

    def _first_corner(self, starts: NDArray[np.int64]) -> NDArray[np.int64]:
        """The first corner of each fan: corner 1 of quads whose diagonal 1-3 is shorter than 0-2, else corner 0."""
        turn = np.zeros(len(starts), np.int64)
        quads = np.flatnonzero(self.polygon_sizes == 4)
        a, b, c, d = (self.vertices[self.corners[starts[quads] + corner]] for corner in range(4))
        turn[quads] = np.linalg.norm(b - d, axis=1) < np.linalg.norm(a - c, axis=1)
        return turn


def read_obj(path: str | Path) -> ObjMesh:
    """Read vertices and polygons of an OBJ file.

    ``v`` lines may carry a weight or a colour after x, y, z; ``f`` lines may use ``v/vt/vn`` and negative indices.
    All other statements are skipped.

    Raises:
        ValueError: a broken line (named by file and line), or no vertices.
        OSError: the file cannot be read.
    """
    return _parse_lines(path, _read_bytes(path))


def read_obj_vertices(path: str | Path) -> NDArray[np.float64]:
    """Only the vertices (N, 3) of an OBJ file, several times faster than :func:`read_obj`.

    Raises:
        ValueError: a broken vertex line (named by file and line), or no vertices.
        OSError: the file cannot be read.
    """
    data = _read_bytes(path)
    if b"\\" not in data:  # continued lines are rare, and left to the line-by-line reader
        lines = [line for line in data.splitlines() if line.lstrip().startswith((b"v ", b"v\t"))]
        try:
            vertices = np.loadtxt(lines, usecols=(1, 2, 3), ndmin=2) if lines else np.empty((0, 3))
        except ValueError:
            vertices = np.empty((0, 3))
        if len(vertices) and (np.abs(vertices) <= LARGEST_COORDINATE).all():
            return vertices
    return _parse_lines(path, data).vertices


def face_lines(path: str | Path) -> list[bytes]:
    """The raw ``f`` lines of an OBJ file: equal lines mean equal faces."""
    return [line for line in _read_bytes(path).splitlines() if line.lstrip().startswith(b"f")]


def _read_bytes(path: str | Path) -> bytes:
    return Path(path).read_bytes().removeprefix(_BYTE_ORDER_MARK)


def _parse_lines(path: str | Path, data: bytes) -> ObjMesh:
    vertices: list[tuple[float, float, float]] = []
    sizes: list[int] = []
    corners: list[int] = []
    polygon_lines: list[int] = []
    continued = b""
    for number, line in enumerate(data.splitlines(), 1):
        line = continued + line.split(b"#", 1)[0].rstrip()
        continued = b""
        if line.endswith(b"\\"):
            continued = line[:-1] + b" "
            continue
        tokens = line.split()
        if not tokens:
            continue
        if tokens[0] == b"v":
            vertices.append(_vertex(tokens, path, number))
        elif tokens[0] == b"f":
            corners.extend(_polygon(tokens, len(vertices), path, number))
            sizes.append(len(tokens) - 1)
            polygon_lines.append(number)
    if not vertices:
        raise ValueError(f"{path}: no vertices: an OBJ file needs lines 'v x y z'")
    # Faces may precede their vertices, so the upper bound is known only now; checked before int64 could overflow.
    if max(corners, default=0) >= len(vertices):
        outside = next(index for index, corner in enumerate(corners) if corner >= len(vertices))
        polygon = int(np.searchsorted(np.cumsum(sizes), outside, side="right"))
        found = corners[outside] + 1
        _fail(
            path,
            polygon_lines[polygon],
            f"face index {quote(found)} is out of range: the file has {len(vertices)} vertices",
        )
    return ObjMesh(np.array(vertices), np.array(sizes, np.int64), np.array(corners, np.int64))


def _vertex(tokens: list[bytes], path: str | Path, number: int) -> tuple[float, float, float]:
    try:
        x, y, z = (float(token) for token in tokens[1:4])
    except ValueError:
        _fail(path, number, f"a vertex must have three numbers, found {quote(_text(tokens[1:]))}")
    if not all(abs(value) <= LARGEST_COORDINATE for value in (x, y, z)):
        limit = f" of at most {LARGEST_COORDINATE:g}" if np.isfinite((x, y, z)).all() else ""
        _fail(path, number, f"a vertex must have finite coordinates{limit}, found {quote(_text(tokens[1:]))}")
    return x, y, z


def _polygon(tokens: list[bytes], num_vertices: int, path: str | Path, number: int) -> list[int]:
    if len(tokens) < 4:
        _fail(path, number, f"a face must have at least three corners, found {quote(_text(tokens[1:]))}")
    try:
        indices = [int(token.split(b"/", 1)[0]) for token in tokens[1:]]
    except ValueError:
        _fail(path, number, f"a face must have whole numbers as indices, found {quote(_text(tokens[1:]))}")
    for index in indices:
        if index == 0 or index < -num_vertices:
            _fail(
                path, number, f"face index {quote(index)} is out of range: indices count from 1, or backwards from -1"
            )
    return [index - 1 if index > 0 else num_vertices + index for index in indices]


def _text(tokens: list[bytes]) -> str:
    return b" ".join(tokens).decode(errors="replace")


def _fail(path: str | Path, number: int, message: str) -> NoReturn:
    raise ValueError(f"{path}:{number}: {message}")
