"""Recordings in .npz files: meshes, coefficients, their times, and broken files."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from biomechau.corpus import read_npz, read_sequence
from biomechau.rig import FaceRig


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_vertices_of_an_npz_are_fitted(
    tiny_rig: FaceRig, tmp_path: Path, vertices: Tensor, coefficients: Tensor, dtype: type
) -> None:
    np.savez(tmp_path / "take.npz", vertices=vertices.numpy().astype(dtype), fps=50)
    sequence = read_npz(tmp_path / "take.npz", tiny_rig)
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
    for fps in (48, 54):
        np.savez(tmp_path / "take.npz", vertices=vertices.numpy(), timestamp=times, fps=fps)
        assert read_npz(tmp_path / "take.npz", tiny_rig).fps == fps
        assert read_npz(tmp_path / "take.npz", tiny_rig).timestamp.tolist() == times.tolist()


def test_argument_replaces_rate_and_times_of_an_npz(tmp_path: Path) -> None:
    np.savez(tmp_path / "take.npz", coefficients=VALUES, names=NAMES, fps=50, timestamp=np.array([2, 2.02, 2.1, 2.12]))
    sequence = read_npz(tmp_path / "take.npz", fps=100)
    assert sequence.fps == 100
    assert sequence.timestamp.tolist() == [0, 0.01, 0.02, 0.03]
    assert sequence.dropped == ()


def test_single_frame_with_its_time(tmp_path: Path) -> None:
    np.savez(tmp_path / "take.npz", coefficients=VALUES[:1], names=NAMES, fps=50, timestamp=np.array([2.5]))
    assert read_npz(tmp_path / "take.npz").timestamp.tolist() == [2.5]
    np.savez(tmp_path / "take.npz", coefficients=VALUES[:1], names=NAMES, timestamp=np.array([2.5]))
    with pytest.raises(ValueError, match=r"npz: fps must be given \(--recorded-fps\)"):
        read_npz(tmp_path / "take.npz")


def test_numbered_frames_of_an_npz(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {"coefficients": VALUES, "names": NAMES, "frame": np.array([2440, 2441, 2443, 2444])}
    valid = np.array([True, True, False, True])
    np.savez(tmp_path / "take.npz", fps=25, valid=valid, **arrays)
    sequence = read_npz(tmp_path / "take.npz")
    assert sequence.frame is not None
    assert sequence.frame.tolist() == [2440, 2441, 2443, 2444]
    assert sequence.timestamp.tolist() == [0, 0.04, 0.12, 0.16]
    assert sequence.dropped == ((1, 1),)
    assert sequence.valid.tolist() == valid.tolist()
    assert read_npz(tmp_path / "take.npz", fps=50).timestamp.tolist() == [0, 0.02, 0.06, 0.08]
    for name, array, message in (
        ("frame", np.arange(4.0), r"frame must be whole numbers of shape \(4,\), got float64"),
        ("frame", np.arange(5), r"frame must be whole numbers of shape \(4,\), got int64 \(5,\)"),
        ("frame", np.array([1, 2, 2, 3]), "increase"),
        ("valid", np.ones(4), r"valid must be bool of shape \(4,\), got float64"),
    ):
        np.savez(tmp_path / "take.npz", fps=25, **{**arrays, name: array})
        with pytest.raises(ValueError, match=rf"take\.npz: .*{message}"):
            read_npz(tmp_path / "take.npz")


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
HALF = np.where(np.arange(8).reshape(4, 2) == 5, np.nan, VALUES)
MESHES = np.random.default_rng(0).normal(0, 5, (4, 99, 3)).astype(np.float32)
BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown-names": ({"names": ["smile", "smirk"]}, "none of its 2 columns has the name of a blendshape"),
    "names-twice": ({"names": ["jawOpen", "JawOpen"]}, "column 'JawOpen' appears twice, also as 'jawOpen'"),
    "names-missing": ({"names": None}, "missing array names"),
    "names-count": ({"names": ["jawOpen"]}, r"coefficients must have shape \(4, 1\), got \(4, 2\)"),
    "names-numbers": ({"names": np.array([1, 2])}, "names must be a vector of strings"),
    "nothing": ({"names": None, "coefficients": None}, "missing array coefficients, names: expected vertices, or"),
    "nan": ({"coefficients": VALUES + np.nan}, "no row has a face"),
    "infinite": ({"coefficients": VALUES + np.inf}, "coefficient 'jawOpen' is inf in frame 0"),
    "half-a-frame": ({"coefficients": HALF}, "frame 2: column mouthPucker has no value, but others of the row do"),
    "integers": ({"coefficients": VALUES.astype(int)}, "coefficients must be float32 or float64, got int64"),
    "axes": ({"coefficients": VALUES[0]}, r"coefficients must have 2 axes and at least one frame, got shape \(2,\)"),
    "no-frames": ({"coefficients": VALUES[:0]}, "at least one frame"),
    "no-rate": ({"fps": None}, "fps must be given"),
    "rate": ({"fps": -30}, "fps must be positive, got -30"),
    "times-count": ({"timestamp": np.arange(3.0)}, r"timestamp must have shape \(4,\), got \(3,\)"),
    "times-fall": ({"timestamp": np.array([0.0, 2, 1, 3])}, "timestamp does not increase after frame 1"),
    "times-stay": ({"timestamp": np.zeros(4), "fps": None}, "timestamp does not increase after frame 0"),
    "times-nan": ({"timestamp": np.array([0, np.nan, 1, 2]), "fps": None}, "timestamp is not finite in frame 1"),
    "times-milli": ({"timestamp": np.arange(4) * 33.3, "fps": None}, "step of timestamp is 33.3: are the times in sec"),
    "times-rate": (
        {"timestamp": np.arange(4) / 50},
        "the typical step of timestamp is 0.02 s, 50 frames",
    ),
    "rate-axes": ({"fps": [30.0]}, r"fps must be a single number, got float64 of shape \(1,\)"),
    "rate-text": ({"fps": "30"}, r"fps must be a single number, got <U2 of shape \(\)"),
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


def test_names_of_an_npz_are_unique_without_a_rig_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "take.npz", coefficients=VALUES, names=["jawOpen", "JawOpen"], fps=30)
    with pytest.raises(ValueError, match=r"take\.npz: column 'JawOpen' appears twice"):
        read_npz(tmp_path / "take.npz")


def _hostile_shape(path: Path) -> None:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 2), }\n"  # 8 TB
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("vertices.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def _no_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("vertices", "no array")


def _set_zip_field(path: Path, offset: int, value: int) -> None:
    """Set one byte of both headers of the only member; the offset is that in its first header."""
    np.savez(path, coefficients=VALUES)
    data = bytearray(path.read_bytes())
    data[offset] = data[data.index(b"PK\x01\x02") + offset + 2] = value
    path.write_bytes(data)


HOSTILE: dict[str, Callable[[Path], None]] = {
    "shape": _hostile_shape,
    "no-array": _no_array,
    "encrypted": lambda path: _set_zip_field(path, 6, 1),
    "compression": lambda path: _set_zip_field(path, 8, 99),
}


@pytest.mark.parametrize("write", HOSTILE.values(), ids=HOSTILE)
def test_npz_with_hostile_content_is_named(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "take.npz")
    with pytest.raises(ValueError, match=r"take\.npz: not a complete \.npz file .*: \S"):
        read_npz(tmp_path / "take.npz")


@pytest.mark.parametrize("keep", [0, 10, 200, -30])
def test_truncated_npz_is_named(tiny_rig: FaceRig, tmp_path: Path, keep: int) -> None:
    np.savez(tmp_path / "take.npz", vertices=MESHES, fps=30)
    (tmp_path / "take.npz").write_bytes((tmp_path / "take.npz").read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"take\.npz: not a complete \.npz file"):
        read_npz(tmp_path / "take.npz", tiny_rig)


def test_single_array_file_is_named(tiny_rig: FaceRig, tmp_path: Path) -> None:
    np.save(tmp_path / "take.npy", MESHES)
    (tmp_path / "take.npy").rename(tmp_path / "take.npz")
    with pytest.raises(ValueError, match=r"take\.npz: not a complete \.npz file .* not a zip file"):
        read_sequence(tmp_path / "take.npz", tiny_rig)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"coefficients": np.full((4, 2), 1e39)},
            r"coefficient 'jawOpen' is 1e\+39 in frame 0, expected a number of at",
        ),
        ({"coefficients": VALUES + 35}, "coefficient 'jawOpen' is 35 in frame 0, expected a number of at most 10"),
        ({"timestamp": np.array([0, 0.03, 1e8, 1e8 + 0.03]), "fps": None}, "frame 2: .* frames at .* after the frame"),
        ({"timestamp": np.arange(4) * 1e-9, "fps": None}, r"fps must lie in \[0.01, 10000\], got 1e\+09"),
        ({"frame": np.array([0, 1, 2, 2**63], np.uint64)}, "frame number 9223372036854775808 at 3, expected 0 to"),
        ({"frame": np.array([0, 1, 2, 9**9])}, "frame 3: 387,420,487 frames at 30 per second"),
    ],
)
def test_numbers_out_of_range_are_named(
    tiny_rig: FaceRig, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    arrays = {"coefficients": VALUES, "names": NAMES, "fps": 30, **change}
    np.savez(tmp_path / "take.npz", **{name: array for name, array in arrays.items() if array is not None})
    with pytest.raises(ValueError, match=rf"take\.npz: {message}"):
        read_npz(tmp_path / "take.npz", tiny_rig)


def test_what_is_no_number_in_a_frame_without_a_face_is_no_fault(tmp_path: Path) -> None:
    values = VALUES.astype(np.float64)
    values[1] = np.nan
    np.savez(tmp_path / "a.npz", coefficients=values, names=NAMES, fps=30, valid=np.array([True, False, True, True]))
    assert read_npz(tmp_path / "a.npz").valid.tolist() == [True, False, True, True]


def test_a_signalling_nan_is_a_missing_value(tmp_path: Path) -> None:
    values = VALUES.astype(np.float32)
    values.view(np.uint32)[1] = 0x7F800001
    np.savez(tmp_path / "a.npz", coefficients=values, names=NAMES, fps=30)
    assert read_npz(tmp_path / "a.npz").valid.tolist() == [True, False, True, True]
