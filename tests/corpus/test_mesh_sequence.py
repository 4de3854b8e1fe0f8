"""Mesh sequences and .npz recordings, through the fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from biomechau.corpus import read_mesh_sequence, read_npz, read_sequence
from biomechau.rig import FaceRig


@pytest.fixture
def coefficients(tiny_rig: FaceRig) -> Tensor:
    return torch.rand(5, tiny_rig.num_shapes, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def vertices(tiny_rig: FaceRig, coefficients: Tensor) -> Tensor:
    return tiny_rig.neutral + torch.einsum("tk,kna->tna", coefficients, tiny_rig.blendshapes)


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
    assert sequence.source.endswith("take2_8.obj to take2_14.obj")
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


def test_folder_needs_a_rate(tiny_rig: FaceRig, folder: Path) -> None:
    with pytest.raises(ValueError, match="fps must be given"):
        read_mesh_sequence(folder, tiny_rig)
    with pytest.raises(ValueError, match="fps must be positive"):
        read_mesh_sequence(folder, tiny_rig, 0)


def test_mesh_with_another_vertex_count_is_named(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    _write_obj(folder / "take2_10.obj", vertices[0, 1:])
    with pytest.raises(ValueError, match=r"take2_10\.obj: expected 99 vertices as the rig, found 98"):
        read_mesh_sequence(folder, tiny_rig, 30)


def test_broken_mesh_is_named(tiny_rig: FaceRig, folder: Path) -> None:
    (folder / "take2_10.obj").write_text("v 0 0 0\nv 0 nan 0\n")
    with pytest.raises(ValueError, match=r"take2_10\.obj:2: a vertex must have finite coordinates"):
        read_mesh_sequence(folder, tiny_rig, 30)


def test_mesh_in_other_units_is_named(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    _write_obj(folder / "take2_10.obj", 10 * vertices[2])
    with pytest.raises(ValueError, match=r"counting frames from take2_8\.obj: the rigid alignment of frame 2"):
        read_mesh_sequence(folder, tiny_rig, 30, rigid=True)


def test_names_that_do_not_number_frames_are_refused(tiny_rig: FaceRig, folder: Path, vertices: Tensor) -> None:
    _write_obj(folder / "take3_010.obj", vertices[0])
    with pytest.raises(ValueError, match=r"take3_010\.obj: frame number 10 is there twice, also as take2_10\.obj"):
        read_mesh_sequence(folder, tiny_rig, 30)
    _write_obj(folder / "neutral.obj", vertices[0])
    with pytest.raises(ValueError, match=r"neutral\.obj: the name has no frame number"):
        read_mesh_sequence(folder, tiny_rig, 30)


def test_folder_without_meshes_is_named(tiny_rig: FaceRig, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no OBJ files"):
        read_mesh_sequence(tmp_path, tiny_rig, 30)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vertices_of_an_npz_are_fitted(
    tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor, coefficients: Tensor, dtype: type
) -> None:
    np.savez(tmp_path / "take.npz", vertices=vertices.numpy().astype(dtype), fps=50)
    sequence = read_mesh_sequence(tmp_path / "take.npz", tiny_rig)
    torch.testing.assert_close(sequence.coefficients, coefficients, atol=2e-3, rtol=0)
    assert sequence.fps == 50
    assert sequence.timestamp[-1].item() == pytest.approx(4 / 50)
    assert sequence.name == "take"


def test_times_of_an_npz_tell_rate_and_gaps(tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor) -> None:
    times = np.array([2, 2.02, 2.04, 2.1, 2.12])
    np.savez(tmp_path / "take.npz", vertices=vertices.numpy(), timestamp=times)
    sequence = read_npz(tmp_path / "take.npz", tiny_rig)
    assert sequence.fps == pytest.approx(50)
    assert sequence.dropped == ((2, 2),)
    assert sequence.timestamp.tolist() == times.tolist()
    assert read_npz(tmp_path / "take.npz", tiny_rig, fps=100).fps == 100


@pytest.mark.parametrize("with_rig", [True, False])
def test_coefficients_of_an_npz_are_taken_as_they_are(
    tiny_rig: FaceRig, tmp_path: Path, coefficients: Tensor, with_rig: bool
) -> None:
    names = ["BrowInnerUp", "JawOpen", "TongueOut"]
    np.savez(tmp_path / "take.npz", coefficients=coefficients[:, :3].numpy(), names=names, fps=30)
    sequence = read_npz(tmp_path / "take.npz", tiny_rig if with_rig else None)
    assert sequence.channels == tuple(names)
    assert torch.equal(sequence.coefficients, coefficients[:, :3])


VALUES = np.zeros((4, 2), np.float32)
NAMES = ["jawOpen", "mouthPucker"]
MESHES = np.zeros((4, 99, 3), np.float32)
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-names": ({"names": ["jawOpen", "smirk"]}, "unknown shape smirk: neither in the rig nor one of ARKit's"),
    "names-twice": ({"names": ["jawOpen", "JawOpen"]}, "channel names must be unique"),
    "names-missing": ({"names": None}, "missing array names"),
    "names-count": ({"names": ["jawOpen"]}, r"coefficients must have shape \(4, 1\), got \(4, 2\)"),
    "names-bytes": ({"names": np.array([b"a", b"b"])}, "names must be a vector of strings"),
    "nothing": ({"names": None, "coefficients": None}, "missing array coefficients, names: expected vertices, or"),
    "nan": ({"coefficients": VALUES + np.nan}, "coefficient jawOpen is not finite in frame 0"),
    "integers": ({"coefficients": VALUES.astype(int)}, "coefficients must be float32 or float64, got int64"),
    "axes": ({"coefficients": VALUES[0]}, r"coefficients must have 2 axes and at least one frame, got shape \(2,\)"),
    "no-frames": ({"coefficients": VALUES[:0]}, "at least one frame"),
    "no-rate": ({"fps": None}, "fps must be given"),
    "rate": ({"fps": -30}, "fps must be positive, got -30"),
    "times-count": ({"timestamp": np.arange(3.0)}, r"timestamp must have shape \(4,\), got \(3,\)"),
    "times-fall": ({"timestamp": np.array([0.0, 2, 1, 3])}, "timestamp does not rise after frame 1"),
    "times-stay": ({"timestamp": np.zeros(4), "fps": None}, "neither fps nor a rising timestamp"),
    "vertex-count": ({"vertices": MESHES[:, 1:]}, r"vertices must have shape \(\.\.\., 99, 3\)"),
    "vertex-nan": ({"vertices": MESHES + np.inf}, "vertices are not finite in frame 0 at vertex 0"),
    "vertex-dtype": ({"vertices": MESHES.astype(np.float16)}, "vertices must be float32 or float64, got float16"),
    "vertex-frames": ({"vertices": MESHES[:0]}, r"vertices must have 3 axes and at least one frame, got shape \(0,"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_npz_is_named(tiny_rig: FaceRig, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {"coefficients": VALUES, "names": NAMES, "fps": 30, **change}
    np.savez(tmp_path / "take.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=rf"take\.npz: .*{message}"):
        read_npz(tmp_path / "take.npz", tiny_rig)


def test_npz_of_vertices_needs_a_rig(tmp_path: Path) -> None:
    np.savez(tmp_path / "take.npz", vertices=MESHES, fps=30)
    with pytest.raises(ValueError, match=r"take\.npz: a rig must be given"):
        read_npz(tmp_path / "take.npz")


def test_pickled_arrays_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "take.npz", coefficients=VALUES, names=np.array(["a", 1], object))
    with pytest.raises(ValueError, match=r"take\.npz: not a complete \.npz file of plain arrays"):
        read_npz(tmp_path / "take.npz")


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_truncated_npz_is_named(tiny_rig: FaceRig, tmp_path: Path, keep: int) -> None:
    np.savez(tmp_path / "take.npz", vertices=MESHES, fps=30)
    (tmp_path / "take.npz").write_bytes((tmp_path / "take.npz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"take\.npz: not a complete \.npz file"):
        read_npz(tmp_path / "take.npz", tiny_rig)


def test_single_array_file_is_named(tiny_rig: FaceRig, tmp_path: Path) -> None:
    np.save(tmp_path / "take.npy", MESHES)
    with pytest.raises(ValueError, match=r"take\.npy: not a complete \.npz file"):
        read_mesh_sequence(tmp_path / "take.npy", tiny_rig)


def test_reader_is_picked_by_kind(tiny_rig: FaceRig, folder: Path) -> None:
    np.savez(folder / "take.npz", vertices=MESHES, fps=30)
    assert len(read_sequence(folder / "take.npz", tiny_rig)) == 4
    assert len(read_sequence(folder, tiny_rig, fps=30)) == 5
    (folder / "take.csv").write_text("frame,AU01\n")
    with pytest.raises(ValueError, match=r"take\.csv: no frames"):
        read_sequence(folder / "take.csv")
    with pytest.raises(ValueError, match=r"notes\.txt: expected a \.csv or \.npz file or a folder of OBJ files"):
        read_sequence(folder / "notes.txt")
    with pytest.raises(ValueError, match="a rig must be given"):
        read_sequence(folder, fps=30)


@pytest.mark.parametrize("name", ["none", "none.csv", "none.npz"])
def test_missing_file_is_named(tiny_rig: FaceRig, tmp_path: Path, name: str) -> None:
    with pytest.raises(FileNotFoundError, match=name):
        read_sequence(tmp_path / name, tiny_rig)
