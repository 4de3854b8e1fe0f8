"""The importer of ICT-FaceKit, on a made folder of the same form and on the real one where it is present."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from biomechau.rig import FaceRig
from biomechau.rig.ict import displacements

NUM_VERTICES = 26719
QUADS = (
    "f 1/1 2/1 3/1 4/1\nf 9407/1 9408/1 9409/1 9410/1\nf 11245/1 11246/1 11247/1 11248/1\nf 26716 26717 26718 26719\n"
)


def _write(path: Path, vertices: NDArray[np.float64]) -> None:
    with path.open("w") as file:
        file.write("mtllib some.mtl\n")
        np.savetxt(file, vertices, "v %.6g %.6g %.6g")
        file.write("vt 0 0\n" + QUADS)


@pytest.fixture(scope="module")
def made() -> NDArray[np.float64]:
    """The vertices of a made neutral, of the size of a head."""
    return np.random.default_rng(0).normal(0, 8, (NUM_VERTICES, 3))


@pytest.fixture(scope="module")
def made_folder(made: NDArray[np.float64], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like FaceXModel: a jaw that moves the face, an eye that does not, a crumb in the face, one identity."""
    folder = tmp_path_factory.mktemp("FaceXModel")
    jaw, eye, crumb = made.copy(), made.copy(), made.copy()
    jaw[100:200, 1] -= 2
    jaw[9409:9500, 1] -= 3
    eye[25000:, 2] += 0.1
    eye[:9000] += 1e-9
    crumb[50, 0] += 0.005
    crumb[25000:, 2] -= 0.1
    for name, vertices in {
        "generic_neutral_mesh": made,
        "jawOpen": jaw,
        "PupilDilate_L": eye,
        "PupilDilate_R": crumb,
        "identity000": made * 1.1,
    }.items():
        _write(folder / f"{name}.obj", vertices)
    return folder


@pytest.mark.parametrize(
    ("region", "num_vertices", "num_faces", "names"),
    [
        ("face", 9409, 2, ("jawOpen",)),
        ("head", 11248, 6, ("jawOpen",)),
        ("all", NUM_VERTICES, 8, ("PupilDilate_L", "PupilDilate_R", "jawOpen")),
    ],
)
def test_regions_cut_vertices_faces_and_shapes(
    made_folder: Path,
    made: NDArray[np.float64],
    region: str,
    num_vertices: int,
    num_faces: int,
    names: tuple[str, ...],
) -> None:
    rig = FaceRig.from_ict(made_folder, region)
    assert rig.num_vertices == num_vertices
    assert len(rig.faces) == num_faces
    assert rig.names == names
    dropped = "" if region == "all" else "PupilDilate_L, PupilDilate_R"
    assert rig.provenance["dropped_shapes"] == dropped
    assert rig.provenance["region"] == region
    np.testing.assert_allclose(rig.neutral, made[:num_vertices], atol=1e-4)
    jaw = rig.blendshapes[rig.shape_indices(["jawOpen"])[0]]
    np.testing.assert_allclose(jaw[100:200, 1], -2, atol=2e-4)
    assert not jaw[:100].any()
    assert not jaw[200:9409].any()
    assert rig.identity_names == ("identity000",)
    np.testing.assert_allclose(rig.identity[0], 0.1 * made[:num_vertices], atol=2e-3)


def test_identity_can_be_left_out_and_progress_counts_files(made_folder: Path) -> None:
    calls: list[tuple[int, int]] = []
    rig = FaceRig.from_ict(made_folder, identity=False, progress=lambda done, total: calls.append((done, total)))
    assert rig.identity.shape == (0, 9409, 3)
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_displacements_drop_rounding_and_keep_motion() -> None:
    neutral = np.array([[0, -2.48251, 11.8387], [0.5, 0.25, 3.0], [0.5, 0.25, 3.0], [1.0, 2.0, 3.0]])
    shape = neutral + np.array([[4.5e-13, -1e-5, 1e-4], [1e-6, 0, -1e-5], [0, 2e-6, 0], [0.5, 1e-6, 0]])
    moved = displacements(shape, neutral)
    assert not moved[:2].any()
    assert moved[2, 1] == pytest.approx(2e-6)
    np.testing.assert_allclose(moved[3], [0.5, 1e-6, 0], atol=1e-12)


def test_unknown_region_is_refused(made_folder: Path) -> None:
    with pytest.raises(ValueError, match="region must be one of 'face', 'head', 'all', got 'nose'"):
        FaceRig.from_ict(made_folder, region="nose")


@pytest.mark.parametrize("folder", ["", "nowhere"])
def test_folder_without_neutral_is_named(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ValueError, match=r"not an ICT FaceXModel folder: .* generic_neutral_mesh\.obj"):
        FaceRig.from_ict(tmp_path / folder)


def test_folder_without_shapes_is_named(made_folder: Path, tmp_path: Path) -> None:
    shutil.copy(made_folder / "generic_neutral_mesh.obj", tmp_path)
    with pytest.raises(ValueError, match="no expression shapes"):
        FaceRig.from_ict(tmp_path)


def test_neutral_of_another_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "generic_neutral_mesh.obj").write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=r"generic_neutral_mesh\.obj: expected 26719 vertices, found 1"):
        FaceRig.from_ict(tmp_path)


@pytest.mark.parametrize("name", ["mouthSmile_L.obj", "identity007.obj"])
def test_shape_with_another_vertex_count_is_named(made_folder: Path, tmp_path: Path, name: str) -> None:
    for file in ("generic_neutral_mesh.obj", "jawOpen.obj"):
        (tmp_path / file).symlink_to(made_folder / file)
    (tmp_path / name).write_text("v 0 0 0\n")
    with pytest.raises(ValueError, match=rf"{name}: expected 26719 vertices as in generic_neutral_mesh\.obj, found 1"):
        FaceRig.from_ict(tmp_path)


def test_real_face_has_the_published_size(ict_rig: FaceRig) -> None:
    assert ict_rig.num_vertices == 9409
    assert len(ict_rig.faces) == 18460
    assert ict_rig.num_shapes == 55
    assert ict_rig.provenance["dropped_shapes"] == "PupilDilate_L, PupilDilate_R"
    assert float(ict_rig.mesh.area) == pytest.approx(837, abs=1)
    assert ict_rig.vertex_masses.sum().item() == pytest.approx(1, abs=1e-5)
    assert (ict_rig.vertex_masses > 0).all()


def test_real_shapes_move_where_their_name_says(ict_rig: FaceRig) -> None:
    """The subject's left is +x; the peak of a one-sided shape lies on its side, and its twin mirrors it."""
    for name in ("mouthSmile", "browDown", "eyeBlink", "noseSneer"):
        left, right = (ict_rig.blendshapes[ict_rig.shape_indices([f"{name}_{side}"])[0]] for side in "LR")
        assert ict_rig.neutral[left.norm(dim=1).argmax(), 0] > 0
        assert ict_rig.neutral[right.norm(dim=1).argmax(), 0] < 0
        assert left.norm().item() == pytest.approx(right.norm().item(), rel=0.01)
    jaw = ict_rig.blendshapes[ict_rig.shape_indices(["JawOpen"])[0]]
    assert jaw[jaw.norm(dim=1).argmax(), 1] < -2


@pytest.mark.slow
def test_real_identity_modes_change_the_face(ict_folder: Path) -> None:
    rig = FaceRig.from_ict(ict_folder)
    assert rig.identity_names == ("identity000", "identity001", "identity002")
    moved = (rig.with_identity(torch.ones(3)).neutral - rig.neutral).norm(dim=1)
    assert 0.05 < moved.mean() < 2
