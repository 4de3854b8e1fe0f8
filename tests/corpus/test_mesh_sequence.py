"""Mesh sequences through the fit, and the function that picks a reader."""

from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor

from biomechau.corpus import read_mesh_sequence, read_npz, read_sequence
from biomechau.rig import FaceRig


def _write_obj(path: Path, vertices: Tensor) -> None:
    path.write_text("".join(f"v {x:.9g} {y:.9g} {z:.9g}\n" for x, y, z in vertices.tolist()) + "f 1 2 3\n")


@pytest.fixture
def folder(tmp_path: Path, vertices: Tensor) -> Path:
    for number, frame in zip((8, 9, 10, 13, 14), vertices, strict=True):
        _write_obj(tmp_path / f"take2_{number}.obj", frame)
    (tmp_path / "notes.txt").write_text("not a mesh")
    return tmp_path


def test_folder_is_read_in_natural_order_with_its_gaps(tiny_rig: FaceRig, folder: Path, coefficients: Tensor) -> None:
    calls: list[tuple[int, int]] = []
    sequence = read_mesh_sequence(folder, tiny_rig, 30, progress=lambda done, total: calls.append((done, total)))
    torch.testing.assert_close(sequence.coefficients, coefficients, atol=2e-3, rtol=0)
    assert sequence.channels == tiny_rig.names
    torch.testing.assert_close(sequence.timestamp, torch.tensor([0, 1, 2, 5, 6]).double() / 30)
    assert sequence.dropped == ((2, 2),)
    assert sequence.source.endswith("take2_8.obj to take2_14.obj, 1 cm per unit")
    assert calls == [(n, 5) for n in range(1, 6)]


def test_numbers_may_count_in_steps(tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor) -> None:
    for number, frame in zip((0, 10, 20, 40), vertices, strict=False):
        _write_obj(tmp_path / f"{number:04}.OBJ", frame)
    sequence = read_mesh_sequence(tmp_path, tiny_rig, 30)
    torch.testing.assert_close(sequence.timestamp, torch.tensor([0, 1, 2, 4]).double() / 30)
    assert sequence.dropped == ((2, 1),)


def test_head_motion_is_taken_out_on_request(tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor) -> None:
    turned = vertices @ torch.linalg.matrix_exp(torch.tensor([[0, 0.4, 0], [-0.4, 0, 0], [0, 0, 0]])) + 3
    _write_obj(tmp_path / "1.obj", turned[0])
    np.savez(tmp_path / "take.npz", vertices=turned[:1], fps=30)
    still = read_mesh_sequence(_only(tmp_path, "1.obj"), tiny_rig, 30, rigid=True).coefficients
    torch.testing.assert_close(still, tiny_rig.fit(vertices[:1], rigid=True), atol=1e-3, rtol=0)
    torch.testing.assert_close(read_npz(tmp_path / "take.npz", tiny_rig, rigid=True).coefficients, still)


def _only(folder: Path, name: str) -> Path:
    (folder / "only").mkdir()
    (folder / name).rename(folder / "only" / name)
    return folder / "only"


def test_meshes_in_other_units_need_a_scale(
    tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor, coefficients: Tensor
) -> None:
    for number, frame in enumerate(vertices):
        _write_obj(tmp_path / f"{number}.obj", 10 * frame)
    np.savez(tmp_path / "take.npz", vertices=10 * vertices.numpy(), fps=30)
    for path, name in ((tmp_path, r"frames from 0\.obj"), (tmp_path / "take.npz", r"take\.npz")):
        sequence = read_sequence(path, tiny_rig, 30, scale=0.1)
        torch.testing.assert_close(sequence.coefficients, coefficients, atol=2e-3, rtol=0)
        assert "0.1 cm per unit" in sequence.source
        for scale, ratio in ((1, r"\d+(\.\d)?"), (0.01, r"0\.\d+")):
            with pytest.raises(ValueError, match=f"{name}: .* {ratio} times as large as the rig"):
                read_sequence(path, tiny_rig, 30, scale=scale)
        with pytest.raises(ValueError, match="scale must be positive, got 0"):
            read_sequence(path, tiny_rig, 30, scale=0)


def test_a_head_that_is_turned_and_larger_keeps_its_scale(tiny_rig: FaceRig, tmp_path: Path) -> None:
    turned = 2.5 * tiny_rig.neutral[:, [2, 0, 1]] + 100
    np.savez(tmp_path / "take.npz", vertices=turned[None].numpy(), fps=30)
    assert len(read_npz(tmp_path / "take.npz", tiny_rig)) == 1


def test_folder_needs_a_rate(tiny_rig: FaceRig, folder: Path) -> None:
    with pytest.raises(ValueError, match=r"fps must be given \(--recorded-fps\)"):
        read_sequence(folder, tiny_rig)
    with pytest.raises(ValueError, match="fps must be positive"):
        read_mesh_sequence(folder, tiny_rig, 0)


def test_mesh_with_another_vertex_count_is_named(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    _write_obj(folder / "take2_10.obj", vertices[0, 1:])
    with pytest.raises(ValueError, match=r"take2_10\.obj: expected 99 vertices like the rig, found 98"):
        read_mesh_sequence(folder, tiny_rig, 30)


def test_broken_mesh_is_named(tiny_rig: FaceRig, folder: Path) -> None:
    (folder / "take2_10.obj").write_text("v 0 0 0\nv 0 nan 0\n")
    with pytest.raises(ValueError, match=r"take2_10\.obj:2: a vertex must have finite coordinates"):
        read_mesh_sequence(folder, tiny_rig, 30)


def test_mesh_in_other_units_is_named(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    _write_obj(folder / "take2_10.obj", 10 * vertices[2])
    with pytest.raises(ValueError, match=r"take2_8\.obj: the rigid alignment of frame 2"):
        read_mesh_sequence(folder, tiny_rig, 30, rigid=True)


def test_names_that_do_not_number_frames_are_refused(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    _write_obj(folder / "take3_010.obj", vertices[0])
    with pytest.raises(ValueError, match=r"take3_010\.obj: frame number 10 .* take2_10\.obj"):
        read_mesh_sequence(folder, tiny_rig, 30)
    _write_obj(folder / "neutral.obj", vertices[0])
    with pytest.raises(ValueError, match=r"neutral\.obj: the name has no frame number"):
        read_mesh_sequence(folder, tiny_rig, 30)


@pytest.mark.parametrize("name", ["face_{:04}_v2", "{:04}_take2", "v2_{}", "take2.{:03}.v003", "take_2_frame{}"])
def test_the_number_that_counts_frames_is_found(
    tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor, coefficients: Tensor, name: str
) -> None:
    for number, frame in enumerate(vertices, 8):
        _write_obj(tmp_path / f"{name.format(number)}.obj", frame)
    sequence = read_mesh_sequence(tmp_path, tiny_rig, 30)
    torch.testing.assert_close(sequence.coefficients, coefficients, atol=2e-3, rtol=0)
    assert sequence.dropped == ()
    assert sequence.notes == ()


def test_the_newest_version_of_a_frame_is_read(
    tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor, coefficients: Tensor
) -> None:
    for number, frame in enumerate(vertices):
        _write_obj(tmp_path / f"face_{number}_v1.obj", frame)
    _write_obj(tmp_path / "face_3_v1.obj", vertices[0])
    _write_obj(tmp_path / "face_3_v10.obj", vertices[3])
    _write_obj(tmp_path / "face_3_v9.obj", vertices[0])
    sequence = read_mesh_sequence(tmp_path, tiny_rig, 30)
    torch.testing.assert_close(sequence.coefficients, coefficients, atol=2e-3, rtol=0)
    assert sequence.notes == ("older versions of 2 frames are left out, such as face_3_v1.obj",)


@pytest.mark.parametrize("encoding", ["ascii", "binary"])
def test_ply_files(
    tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor, coefficients: Tensor, encoding: Literal["ascii", "binary"]
) -> None:
    trimesh = pytest.importorskip("trimesh")
    for number, frame in enumerate(vertices):
        mesh = trimesh.Trimesh(frame.numpy(), tiny_rig.faces.numpy(), process=False)
        (tmp_path / f"f{number}.ply").write_bytes(trimesh.exchange.ply.export_ply(mesh, encoding))
    sequence = read_sequence(tmp_path, tiny_rig, 30)
    torch.testing.assert_close(sequence.coefficients, coefficients, atol=2e-3, rtol=0)
    whole = (tmp_path / "f3.ply").read_bytes()
    for broken, message in (
        (whole[: len(whole) // 2], "x, y and z in every row|not a PLY file that can be read"),
        (
            b"ply\nformat binary_little_endian 1.0\nelement vertex 9999999999\nproperty float x\nend_header\n",
            "not a PLY",
        ),
        (b"ply\nformat ascii 1.0\nelement vertex 1\nproperty float x\nend_header\n1\n", "x, y and z|not a PLY"),
        (b"", "not a PLY file"),
    ):
        (tmp_path / "f3.ply").write_bytes(broken)
        with pytest.raises(ValueError, match=rf"f3\.ply: .*({message})"):
            read_sequence(tmp_path, tiny_rig, 30)


def test_folder_without_meshes_is_named(tiny_rig: FaceRig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no OBJ or PLY files"):
        read_mesh_sequence(tmp_path, tiny_rig, 30)


def test_reader_is_picked_by_kind(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    np.savez(folder / "take.npz", vertices=vertices.numpy(), fps=30)
    assert len(read_sequence(folder / "take.npz", tiny_rig)) == 5
    assert len(read_sequence(folder, tiny_rig, fps=30)) == 5
    (folder / "take.csv").write_text("frame,AU01\n")
    with pytest.raises(ValueError, match=r"take\.csv: no frames"):
        read_sequence(folder / "take.csv")
    (folder / "notes.md").touch()
    with pytest.raises(ValueError, match=r"notes\.md: expected a table of blendshapes"):
        read_sequence(folder / "notes.md")
    with pytest.raises(ValueError, match="a rig must be given"):
        read_sequence(folder, fps=30)


@pytest.mark.parametrize("name", ["none", "none.csv", "none.npz"])
def test_missing_file_is_named(tiny_rig: FaceRig, tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        read_sequence(tmp_path / name, tiny_rig)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("f99999999999999999999999999.obj", "the frame number is too large, expected at most 1,000,000,000"),
        ("f900000000.obj", "frame 900000000: 899,999,986 frames at 30 per second, 3e.07 s, after the frame before it"),
    ],
)
def test_a_frame_number_that_asks_for_gigabytes_is_named(
    tiny_rig: FaceRig, folder: Path, vertices: Tensor, name: str, message: str
) -> None:
    _write_obj(folder / name, vertices[0])
    with pytest.raises(ValueError, match=f"{name}: {message}"):
        read_mesh_sequence(folder, tiny_rig, 30)


def test_a_coordinate_beyond_float32_is_named(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    (folder / "take2_9.obj").write_text("v 0 0 0\nv 1e39 0 0\n")
    with pytest.raises(ValueError, match=r"take2_9\.obj:2: .* finite coordinates of at most 1e.09"):
        read_mesh_sequence(folder, tiny_rig, 30)
