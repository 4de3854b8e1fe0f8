"""The built-in face: exact size, exact symmetry, sound triangles, and shapes that do what their names say."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from biomechau.rig import FaceRig
from biomechau.rig._builtin import MAX_VERTICES, MIN_VERTICES, builtin_face
from biomechau.rig._builtin_surface import CANTHUS_INNER, CANTHUS_OUTER, fissure

SIZES = (1000, 5000, 9409, pytest.param(26719, marks=pytest.mark.slow))
SIDED = (
    *("browInnerUp", "browOuterUp", "browDown", "eyeWide", "eyeBlink", "eyeSquint", "cheekSquint", "cheekPuff"),
    *("noseSneer", "mouthUpperUp", "mouthSmile", "mouthDimple", "mouthFrown", "mouthStretch"),
    *("mouthLowerDown", "mouthPress"),
)
UNSIDED = (
    *("mouthShrugUpper", "mouthShrugLower", "mouthPucker", "mouthFunnel", "mouthRollUpper", "mouthRollLower"),
    *("mouthClose", "mouthLeft", "mouthRight", "jawOpen", "jawForward", "jawLeft", "jawRight"),
)
FLIP = np.array([-1.0, 1.0, 1.0], dtype=np.float32)


@pytest.fixture(scope="module", params=SIZES)
def rig(request: pytest.FixtureRequest) -> FaceRig:
    return FaceRig.builtin(request.param)


@pytest.fixture(scope="module")
def face() -> FaceRig:
    return FaceRig.builtin(5000)


def shape(rig: FaceRig, name: str) -> np.ndarray:
    return rig.blendshapes[rig.names.index(name)].numpy()


def mirror_map(rig: FaceRig) -> np.ndarray:
    """Index of each vertex's mirror image, by exact comparison of coordinates."""
    vertices = rig.neutral.numpy()
    order, mirrored_order = np.lexsort(vertices.T), np.lexsort((vertices * FLIP).T)
    mirror = np.empty(len(vertices), np.int64)
    mirror[mirrored_order] = order
    np.testing.assert_array_equal(vertices[mirror], vertices * FLIP)
    return mirror


def triangles(rig: FaceRig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b, c = rig.neutral.numpy().astype(np.float64)[rig.faces.numpy()].transpose(1, 0, 2)
    return a, b, c


def border_loops(rig: FaceRig) -> list[np.ndarray]:
    """Vertices of each open border, the shorter one (the lips) first."""
    faces = rig.faces.numpy()
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    edges, count = np.unique(np.sort(directed, 1), axis=0, return_counts=True)
    assert count.max() == 2, "an edge has more than two triangles"
    assert len(np.unique(directed, axis=0)) == len(directed), "neighbouring triangles turn opposite ways"
    border = edges[count == 1]
    graph = coo_matrix((np.ones(len(border)), border.T), shape=(rig.num_vertices,) * 2)
    _, label = connected_components(graph, directed=False)
    loops = [np.nonzero(label == k)[0] for k in np.unique(label[border])]
    return sorted(loops, key=lambda loop: float(np.ptp(rig.neutral.numpy()[loop, 1])))


def lip_edges(rig: FaceRig) -> tuple[np.ndarray, np.ndarray]:
    """Vertices of the mouth's border on the upper and on the lower lip, near the midline."""
    loop = border_loops(rig)[0]
    near = loop[np.abs(rig.neutral.numpy()[loop, 0]) < 0.6]
    opened = shape(rig, "jawOpen")[near, 1]
    return near[opened > -0.5], near[opened < -0.5]


def test_size_is_exact(rig: FaceRig, request: pytest.FixtureRequest) -> None:
    assert rig.num_vertices == request.node.callspec.params["rig"]


@pytest.mark.parametrize(
    "num_vertices",
    [
        1000,
        pytest.param(1001, marks=pytest.mark.slow),
        1337,
        pytest.param(2002, marks=pytest.mark.slow),
        pytest.param(3003, marks=pytest.mark.slow),
    ],
)
def test_any_size_is_met_by_a_sound_mesh(num_vertices: int) -> None:
    rig = FaceRig.builtin(num_vertices)
    assert rig.num_vertices == num_vertices
    assert len(border_loops(rig)) == 2
    mirror_map(rig)


def test_every_shape_is_there(rig: FaceRig) -> None:
    assert set(rig.names) == {f"{name}_{side}" for name in SIDED for side in "LR"} | set(UNSIDED)


def test_geometry_and_shapes_are_mirror_symmetric(rig: FaceRig) -> None:
    mirror = mirror_map(rig)
    np.testing.assert_array_equal(mirror[mirror], np.arange(rig.num_vertices))
    opposite = {"_L": "_R", "Left": "Right"}
    for name in rig.names:
        if name.endswith(("_R", "Right")):
            continue
        partner = next((name.removesuffix(a) + b for a, b in opposite.items() if name.endswith(a)), name)
        np.testing.assert_array_equal(shape(rig, partner), shape(rig, name)[mirror] * FLIP, err_msg=name)


def test_size_of_a_human_face(rig: FaceRig) -> None:
    width, height, _ = np.ptp(rig.neutral.numpy(), axis=0)
    assert 13.0 < width < 15.0
    assert 18.0 < height < 20.0


def test_triangles_are_well_shaped(rig: FaceRig) -> None:
    a, b, c = triangles(rig)
    sides = np.stack([np.linalg.norm(b - c, axis=-1), np.linalg.norm(c - a, axis=-1), np.linalg.norm(a - b, axis=-1)])
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2.0
    quality = 4.0 * np.sqrt(3.0) * area / (sides**2).sum(0)  # 1 for an equilateral triangle
    sine = 2.0 * area * sides / sides.prod(0)
    assert np.degrees(np.arcsin(sine.min())) > 8.0
    assert quality.min() > 0.2
    assert quality.mean() > 0.9


def test_triangles_are_denser_at_eyes_and_mouth(face: FaceRig) -> None:
    vertices, edges = face.neutral.numpy(), face.edges.numpy()
    middle = vertices[edges].mean(1)
    length = np.linalg.norm(np.diff(vertices[edges], axis=1)[:, 0], axis=-1)
    eye = np.hypot(np.abs(middle[:, 0]) - 3.1, middle[:, 1]) < 1.0
    mouth = (np.abs(middle[:, 0]) < 1.5) & (np.abs(middle[:, 1] + 6.7) < 0.6)
    forehead = middle[:, 1] > 4.5
    assert np.median(length[eye]) < 0.5 * np.median(length[forehead])
    assert np.median(length[mouth]) < 0.6 * np.median(length[forehead])


def test_one_piece_with_two_borders_and_no_stray_vertex(rig: FaceRig) -> None:
    edges = rig.edges.numpy()
    graph = coo_matrix((np.ones(len(edges)), edges.T), shape=(rig.num_vertices,) * 2)
    assert connected_components(graph, directed=False)[0] == 1
    assert len(border_loops(rig)) == 2
    assert rig.num_vertices - len(edges) + len(rig.faces) == 0  # Euler characteristic of a disc with one hole
    assert float(rig.vertex_masses.min()) > 0.0


def test_normals_point_out_of_the_face(rig: FaceRig) -> None:
    a, b, c = triangles(rig)
    normal = np.cross(b - a, c - a)
    middle = (a + b + c) / 3.0
    skin = (np.abs(middle[:, 0]) < 5.0) & (middle[:, 1] > 1.0)
    assert (normal[skin, 2] > 0.0).all()
    outward = (normal * (middle - [0.0, -2.0, 1.0])).sum(-1)
    assert outward[outward > 0.0].sum() > 0.95 * np.abs(outward).sum()  # what is left: inner lips, nostrils, lids


def test_shapes_are_sparse_and_compact(rig: FaceRig) -> None:
    for name in rig.names:
        moved = np.abs(shape(rig, name)).max(-1) > 0.0
        limit = 0.5 if name.startswith(("jaw", "mouth")) and not name.endswith(("_L", "_R")) else 0.25
        assert 0.0 < moved.mean() < limit, name
        if name.endswith("_L"):
            assert rig.neutral.numpy()[moved, 0].min() > -1.5, name


def test_amplitudes_are_those_of_faces(rig: FaceRig) -> None:
    peak = dict(zip(rig.names, rig.blendshapes.norm(dim=-1).amax(-1).tolist(), strict=True))
    assert 0.8 < peak["mouthSmile_L"] < 1.5
    assert 2.0 < peak["jawOpen"] < 4.0
    assert all(0.25 < value < 4.0 for value in peak.values())


@pytest.mark.parametrize(
    ("name", "where", "axis", "sign"),
    [
        ("mouthSmile_L", (2.4, -6.7), 1, 1),
        ("mouthSmile_L", (2.4, -6.7), 0, 1),
        ("mouthFrown_L", (2.4, -6.7), 1, -1),
        ("mouthStretch_L", (2.4, -6.7), 0, 1),
        ("mouthPucker", (2.4, -6.7), 0, -1),
        ("mouthPucker", (0.0, -7.0), 2, 1),
        ("mouthLeft", (0.0, -7.0), 0, 1),
        ("jawLeft", (0.0, -10.0), 0, 1),
        ("jawForward", (0.0, -10.0), 2, 1),
        ("mouthShrugLower", (0.0, -9.5), 1, 1),
        ("browInnerUp_L", (1.7, 2.2), 1, 1),
        ("browOuterUp_L", (4.5, 2.2), 1, 1),
        ("browDown_L", (2.0, 2.0), 1, -1),
        ("cheekPuff_L", (4.4, -6.2), 2, 1),
        ("cheekSquint_L", (4.0, -2.2), 1, 1),
        ("noseSneer_L", (1.2, -4.2), 1, 1),
    ],
)
def test_shapes_pull_the_right_way(face: FaceRig, name: str, where: tuple[float, float], axis: int, sign: int) -> None:
    nearest = np.linalg.norm(face.neutral.numpy()[:, :2] - where, axis=-1).argmin()
    assert sign * shape(face, name)[nearest, axis] > 0.2


def test_jaw_open_parts_the_lips_and_mouth_close_joins_them(rig: FaceRig) -> None:
    upper, lower = lip_edges(rig)
    neutral = rig.neutral.numpy()
    opened = neutral + shape(rig, "jawOpen")
    closed = opened + shape(rig, "mouthClose")

    def gap(vertices: np.ndarray) -> float:
        return float(vertices[upper, 1].mean() - vertices[lower, 1].mean())

    assert gap(neutral) < 0.4  # inner lips diverge a little behind the closed mouth
    assert gap(opened) > 1.5
    assert gap(closed) < 0.6


def lid_edges(rig: FaceRig) -> tuple[np.ndarray, np.ndarray]:
    """Front edge of the left eye's upper and lower lid between the corners, from the inner corner outwards."""
    x, y, _ = rig.neutral.numpy().astype(np.float64).T
    between = (x > CANTHUS_INNER + 0.4) & (x < CANTHUS_OUTER - 0.4)
    edges = (np.nonzero(between & (np.abs(y - height) < 0.012))[0] for height in fissure(x))
    upper, lower = (edge[np.argsort(x[edge])] for edge in edges)
    return upper, lower


def lid_opening(rig: FaceRig, name: str = "") -> np.ndarray:
    """Height of the left eye's opening along the lower lid's edge."""
    vertices = rig.neutral.numpy() + (shape(rig, name) if name else 0.0)
    upper, lower = lid_edges(rig)
    return np.interp(vertices[lower, 0], vertices[upper, 0], vertices[upper, 1]) - vertices[lower, 1]


def test_lids_open_and_close(rig: FaceRig) -> None:
    rest = lid_opening(rig)
    assert len(rest) >= 4
    assert rest.max() > 0.8
    assert np.abs(lid_opening(rig, "eyeBlink_L")).max() < 0.1
    assert lid_opening(rig, "eyeSquint_L").max() < 0.6 * rest.max()
    assert lid_opening(rig, "eyeWide_L").max() > 1.2 * rest.max()


@pytest.mark.parametrize("activation", [0.25, 0.5, 0.75, 1.0])
def test_the_lid_slides_over_the_eye(face: FaceRig, activation: float) -> None:
    neutral = face.neutral.numpy()
    blink = shape(face, "eyeBlink_L")
    x, y, z = (neutral + activation * blink).T
    # The bare eye: an ellipsoid 1.72 x 1.30 x 1.20 cm about (3.1, 0, 7.0).
    inside = 1.0 - ((x - 3.1) / 1.72) ** 2 - (y / 1.30) ** 2
    eye = 7.0 + 1.20 * np.sqrt(np.clip(inside, 0.0, None))
    lid = (blink[:, 1] < -0.2) & (neutral[:, 1] > 0.68) & (np.abs(neutral[:, 0] - 3.1) < 0.8)
    assert lid.sum() > 10
    assert (z[lid] > eye[lid]).all()


def test_mass_matrix_is_well_conditioned(rig: FaceRig) -> None:
    weighted = (rig.blendshapes.double() * rig.vertex_masses.double().sqrt()[:, None]).flatten(1)
    mass = weighted @ weighted.T
    scale = mass.diagonal().rsqrt()
    assert float(torch.linalg.cond(scale[:, None] * mass * scale)) < 1e4


def test_no_two_shapes_are_alike(rig: FaceRig) -> None:
    flat = torch.nn.functional.normalize(rig.blendshapes.double().flatten(1), dim=1)
    cosine = flat @ flat.T - torch.eye(rig.num_shapes)
    assert float(cosine.abs().max()) < 0.97


def test_same_bytes_every_time() -> None:
    one, two = FaceRig(*builtin_face(1500)), FaceRig(*builtin_face(1500))  # not the one that all tests share
    for name in ("neutral", "faces", "blendshapes"):
        assert torch.equal(getattr(one, name), getattr(two, name)), name
    assert one.names == two.names


@pytest.mark.parametrize("num_vertices", [MIN_VERTICES - 1, MAX_VERTICES + 1, 0, -5])
def test_size_out_of_range(num_vertices: int) -> None:
    with pytest.raises(ValueError, match=rf"num_vertices must lie in \[1000, 50000\], got {num_vertices}"):
        FaceRig.builtin(num_vertices)


@pytest.mark.parametrize("num_vertices", [5000.0, "5000", True, None])
def test_size_of_another_type(num_vertices: object) -> None:
    with pytest.raises(TypeError, match="num_vertices must be an integer"):
        FaceRig.builtin(num_vertices)  # pyright: ignore[reportArgumentType]


def test_rig_says_where_it_came_from(face: FaceRig) -> None:
    assert face.provenance["source"] == "biomechau built-in procedural face"
    assert face.neutral.dtype == face.blendshapes.dtype == torch.float32
    assert face.faces.dtype == torch.int64


def test_rig_builtin_is_this_face(face: FaceRig) -> None:
    assert torch.equal(FaceRig.builtin(5000).neutral, face.neutral)
