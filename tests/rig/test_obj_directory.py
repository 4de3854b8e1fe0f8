"""Folders of OBJ meshes of one topology."""

from pathlib import Path

import pytest
import torch

from biomechau.rig import FaceRig

VERTICES = ((0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0))
FACES = "f 1/1 2/2 3/3 4/4\n"


def _write(path: Path, lift: float = 0, faces: str = FACES, vertices: tuple[tuple[float, ...], ...] = VERTICES) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in vertices[:-1]]
    x, y, z = vertices[-1]
    path.write_text("\n".join([*lines, f"v {x} {y} {z + lift}", faces]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path / "Neutral.obj")
    _write(tmp_path / "smile_L.obj", 0.5)
    _write(tmp_path / "JawOpen.OBJ", -2, FACES.replace("/1", "/2"))
    _write(tmp_path / "tongueOut.obj")
    (tmp_path / "notes.txt").write_text("not a mesh")
    return tmp_path


@pytest.mark.parametrize("neutral", ["Neutral", "neutral", "NEUTRAL.obj"])
def test_every_other_mesh_is_a_shape(folder: Path, neutral: str) -> None:
    calls: list[tuple[int, int]] = []
    rig = FaceRig.from_obj_directory(folder, neutral, progress=lambda done, total: calls.append((done, total)))
    assert rig.names == ("JawOpen", "smile_L")
    assert torch.equal(rig.neutral, torch.tensor(VERTICES, dtype=torch.float32))
    assert torch.equal(rig.blendshapes[:, 3, 2], torch.tensor([-2.0, 0.5]))
    assert rig.blendshapes.count_nonzero() == 2
    assert len(rig.faces) == 2
    assert rig.provenance["dropped_shapes"] == "tongueOut"
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_scale_turns_units_into_centimetres(folder: Path) -> None:
    rig = FaceRig.from_obj_directory(folder, scale=100)
    assert rig.neutral.max() == 100
    assert rig.blendshapes.min() == -200


@pytest.mark.parametrize("scale", [0, -1, float("nan"), float("inf")])
def test_scale_must_be_positive(folder: Path, scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be positive"):
        FaceRig.from_obj_directory(folder, scale=scale)


def test_missing_neutral_lists_what_is_there(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected one neutral named 'Rest' \(in any case\), found JawOpen\.OBJ, Neutral"
    ):
        FaceRig.from_obj_directory(folder, "Rest")


def test_two_neutrals_are_refused(folder: Path) -> None:
    _write(folder / "neutral.OBJ")
    with pytest.raises(ValueError, match=r"neutral\.OBJ: there is also Neutral\.obj; keep one of them"):
        FaceRig.from_obj_directory(folder)


def test_other_vertex_count_is_named(folder: Path) -> None:
    _write(folder / "puff.obj", vertices=(*VERTICES, (2, 2, 2)))
    with pytest.raises(ValueError, match=r"puff\.obj: expected 4 vertices as in Neutral\.obj, found 5"):
        FaceRig.from_obj_directory(folder)


@pytest.mark.parametrize("faces", ["f 1 2 3\nf 1 3 4\n", "f 1 2 3 3\n", "f 1 2 3\n", ""])
def test_other_faces_are_named(folder: Path, faces: str) -> None:
    _write(folder / "puff.obj", 1, faces)
    with pytest.raises(ValueError, match=r"puff\.obj: its faces differ from those of Neutral\.obj"):
        FaceRig.from_obj_directory(folder)


def test_broken_face_index_is_named(folder: Path) -> None:
    _write(folder / "puff.obj", 1, "f 1 2 3 9\n")
    with pytest.raises(ValueError, match=r"puff\.obj:5: face index 9 is out of range: the file has 4 vertices"):
        FaceRig.from_obj_directory(folder)


def test_folder_without_meshes_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no OBJ files"):
        FaceRig.from_obj_directory(tmp_path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        FaceRig.from_obj_directory(tmp_path / "nowhere")


def test_folder_with_only_the_neutral_is_named(tmp_path: Path) -> None:
    _write(tmp_path / "Neutral.obj")
    with pytest.raises(ValueError, match=r"no shapes besides the neutral Neutral\.obj"):
        FaceRig.from_obj_directory(tmp_path)
    _write(tmp_path / "same.obj")
    with pytest.raises(ValueError, match=r"no shape differs from the neutral Neutral\.obj"):
        FaceRig.from_obj_directory(tmp_path)


def test_faces_may_stand_in_another_order(tmp_path: Path) -> None:
    vertices = (*VERTICES[:3], (2, 2, 0), VERTICES[3])
    _write(tmp_path / "Neutral.obj", 0, "f 1 2 3 5\nf 3 4 5\nf 2 3 4\n", vertices)
    _write(tmp_path / "puff.obj", 1, "f 3 4 2\nf 5 1 2 3\nf 5 3 4\n", vertices)
    assert FaceRig.from_obj_directory(tmp_path).names == ("puff",)


def test_neutral_without_faces_is_refused(folder: Path) -> None:
    _write(folder / "Neutral.obj", 0, "")
    with pytest.raises(ValueError, match=r"Neutral\.obj: no faces: the neutral needs lines 'f a b c'"):
        FaceRig.from_obj_directory(folder)


@pytest.mark.parametrize(
    "name", ["_neutral", "Basis", "BASE", "rest", "neutral_v003", "blendShape1.Neutral", "00_neutral", "face_neutral"]
)
def test_neutral_by_any_usual_name(folder: Path, name: str) -> None:
    (folder / "Neutral.obj").rename(folder / f"{name}.obj")
    rig = FaceRig.from_obj_directory(folder)
    assert rig.names == ("JawOpen", "smile_L")
    assert rig.provenance["neutral"] == f"{name}.obj"


def test_no_usual_name_asks_for_the_neutral(folder: Path) -> None:
    (folder / "Neutral.obj").rename(folder / "calm.obj")
    with pytest.raises(ValueError, match=r"expected one neutral, a file named neutral or .* --neutral NAME tells"):
        FaceRig.from_obj_directory(folder)
    assert FaceRig.from_obj_directory(folder, "calm").provenance["neutral"] == "calm.obj"
    _write(folder / "face_neutral.obj")
    _write(folder / "head_neutral.obj")
    with pytest.raises(ValueError, match=r"found face_neutral\.obj, head_neutral\.obj; --neutral"):
        FaceRig.from_obj_directory(folder)


def test_the_newest_version_of_each_shape_is_taken(folder: Path) -> None:
    (folder / "smile_L.obj").rename(folder / "smile_L_v002.obj")
    _write(folder / "smile_L_v010.obj", 0.75)
    _write(folder / "smile_L.v1.obj", 9)
    rig = FaceRig.from_obj_directory(folder)
    assert rig.names == ("JawOpen", "smile_L")
    assert torch.equal(rig.blendshapes[:, 3, 2], torch.tensor([-2.0, 0.75]))
    assert rig.provenance["older_versions"] == "smile_L.v1.obj, smile_L_v002.obj"


def test_a_prefix_of_all_shapes_is_no_part_of_their_names(folder: Path) -> None:
    for old, new in (("smile_L.obj", "02_mouthSmileLeft.obj"), ("JawOpen.OBJ", "01_jawOpen.obj")):
        (folder / old).rename(folder / f"blendShape1.{new}")
    (folder / "tongueOut.obj").unlink()
    rig = FaceRig.from_obj_directory(folder)
    assert rig.names == ("jawOpen", "mouthSmileLeft")
    assert rig.provenance["renamed"].startswith("jawOpen for blendShape1.01_jawOpen, ")


def test_ply_files_are_shapes_too(folder: Path) -> None:
    import trimesh

    rig = FaceRig.from_obj_directory(folder)
    for path in list(folder.iterdir()):
        path.unlink()
    for name, shape in zip(("Neutral", *rig.names), (0, *rig.blendshapes), strict=True):
        mesh = trimesh.Trimesh((rig.neutral + shape).numpy(), rig.faces.numpy(), process=False)
        (folder / f"{name}.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh))
    again = FaceRig.from_obj_directory(folder)
    assert torch.equal(again.neutral, rig.neutral)
    assert torch.equal(again.blendshapes, rig.blendshapes)
    assert torch.equal(again.faces, rig.faces)
