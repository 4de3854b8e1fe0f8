"""The OBJ reader: what it understands, the order it keeps, and what it names when a file is broken."""

from pathlib import Path

import numpy as np
import pytest

from biomechau.rig._obj import face_lines, read_obj, read_obj_vertices

CUBE_SIDE = """\
# a unit square and a triangle
mtllib some.mtl
o square
v 0 0 0
v 1 0 0
v 1 1 0.5
v 0 1 0
v 2e0 .5 -1
vt 0 0
vn 0 0 1
s off
usemtl skin
f 1/1/1 2/1/1 3/1/1 4/1/1
f 2//1 5//1 3
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "mesh.obj"
    path.write_bytes(text.encode())
    return path


def test_vertices_and_polygons_keep_their_order(tmp_path: Path) -> None:
    mesh = read_obj(_write(tmp_path, CUBE_SIDE))
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0.5], [0, 1, 0], [2, 0.5, -1]]
    assert mesh.polygon_sizes.tolist() == [4, 3]
    assert mesh.corners.tolist() == [0, 1, 2, 3, 1, 4, 2]


def test_both_readers_agree(tmp_path: Path) -> None:
    path = _write(tmp_path, CUBE_SIDE)
    assert np.array_equal(read_obj_vertices(path), read_obj(path).vertices)


def test_quads_are_cut_along_the_shorter_diagonal(tmp_path: Path) -> None:
    corners = "v 0 0 0\nv 1 0 0\nv {} {} 0\nv 0 1 0\nf 1 2 3 4\n"
    long_02 = read_obj(_write(tmp_path, corners.format(2, 2))).triangles()
    assert long_02.tolist() == [[1, 2, 3], [1, 3, 0]]
    short_02 = read_obj(_write(tmp_path, corners.format(0.6, 0.6))).triangles()
    assert short_02.tolist() == [[0, 1, 2], [0, 2, 3]]


def test_triangles_cover_polygons_of_every_size_with_their_orientation(tmp_path: Path) -> None:
    circle = [(np.cos(a), np.sin(a), 0) for a in 2 * np.pi * np.arange(6) / 6]
    lines = [f"v {x} {y} {z}" for x, y, z in circle] + ["f 1 2 3 4 5 6", "f 1 2 3", "f 1 2 4 5"]
    mesh = read_obj(_write(tmp_path, "\n".join(lines)))
    a, b, c = (mesh.vertices[mesh.triangles()[:, corner]] for corner in range(3))
    areas = np.cross(b - a, c - a)[:, 2] / 2
    assert len(areas) == 4 + 1 + 2
    assert (areas > 0).all()
    assert areas[:4].sum() == pytest.approx(1.5 * np.sqrt(3))


@pytest.mark.parametrize(
    "text",
    [
        CUBE_SIDE.replace("\n", "\r\n"),
        CUBE_SIDE.replace("\n", "\r"),
        CUBE_SIDE.replace("v 1 0 0", "v \\\n1 0 \\\r\n0").replace("4/1/1", "\\\n4/1/1"),
        CUBE_SIDE.replace("v 1 0 0", "  v\t1  0 0   # corner"),
        CUBE_SIDE.replace("v 1 0 0", "v 1 0 0 1.0").replace("v 0 0 0", "v 0 0 0 0.5 0.2 0.1"),
        CUBE_SIDE.replace("1/1/1 2/1/1 3/1/1 4/1/1", "-5 -4/-1/-1 -3 -2//-1"),
        "\n".join([line for line in CUBE_SIDE.splitlines() if line[0] == "f"] + CUBE_SIDE.splitlines()[:-2]),
        CUBE_SIDE.rstrip("\n"),
        "\ufeff" + CUBE_SIDE[CUBE_SIDE.index("v 0") :],
        "\ufeff" + CUBE_SIDE[CUBE_SIDE.index("f ") :] + CUBE_SIDE[: CUBE_SIDE.index("f ")],
        " \t" + CUBE_SIDE[CUBE_SIDE.index("v 0") :],
        CUBE_SIDE.replace("v 1 0 0", "  v 1 0 0").replace("\n", "\r"),
    ],
    ids=[
        *("crlf", "cr", "continued", "spaces", "weights", "negative", "faces-first", "no-last-newline"),
        *("byte-order-mark", "byte-order-mark-face", "indented-first", "indented-cr"),
    ],
)
def test_other_writers_are_understood(tmp_path: Path, text: str) -> None:
    expected = read_obj(_write(tmp_path, CUBE_SIDE))
    path = _write(tmp_path, text)
    assert np.array_equal(read_obj(path).vertices, expected.vertices)
    assert np.array_equal(read_obj(path).corners, expected.corners)
    assert np.array_equal(read_obj_vertices(path), expected.vertices)


BROKEN = {
    "face-too-large": (14, "f 2 6 3", "face index 6 is out of range: the file has 5 vertices"),
    "face-huge": (14, f"f 1 2 {10**19}", f"face index {10**19} is out of range: the file has 5 vertices"),
    "face-zero": (14, "f 0 1 2", "face index 0 is out of range"),
    "face-negative": (14, "f 1 2 -6", "face index -6 is out of range"),
    "face-text": (14, "f 1 two 3", "whole numbers as indices, found '1 two 3'"),
    "face-short": (14, "f 1 2", "at least three corners, found '1 2'"),
    "vertex-text": (6, "v 1 one 0", "three numbers, found '1 one 0'"),
    "vertex-short": (6, "v 1 1", "three numbers, found '1 1'"),
    "vertex-nan": (6, "v 1 nan 0", "finite coordinates, found '1 nan 0'"),
    "vertex-inf": (6, "v 1 1e999 0", "finite coordinates, found '1 1e999 0'"),
}


@pytest.mark.parametrize(("line", "text", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_line_is_named(tmp_path: Path, line: int, text: str, message: str) -> None:
    lines: list[str] = [*CUBE_SIDE.splitlines()]
    lines[line - 1] = text
    path = _write(tmp_path, "\n".join(lines))
    with pytest.raises(ValueError, match=rf"mesh\.obj:{line}: .*{message}"):
        read_obj(path)
    if text.startswith("v"):
        with pytest.raises(ValueError, match=rf"mesh\.obj:{line}: .*{message}"):
            read_obj_vertices(path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "f 1 2 3\n"])
def test_file_without_vertices_is_named(tmp_path: Path, text: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(ValueError, match=r"mesh\.obj: no vertices"):
        read_obj(path)
    with pytest.raises(ValueError, match=r"mesh\.obj: no vertices"):
        read_obj_vertices(path)


def test_face_lines_are_the_lines_of_faces(tmp_path: Path) -> None:
    expected = [b"f 1/1/1 2/1/1 3/1/1 4/1/1", b"f 2//1 5//1 3"]
    assert face_lines(_write(tmp_path, CUBE_SIDE)) == expected
    faces_first = "\ufeff" + CUBE_SIDE[CUBE_SIDE.index("f ") :]
    assert face_lines(_write(tmp_path, faces_first)) == expected
