"""Sizes of an .npz file are known before anything is read."""

from __future__ import annotations

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from biomechau.corpus.npz_arrays import read_arrays


def write_raw(path: Path, shape: tuple[int, ...], dtype: str, size: int, packing: int = zipfile.ZIP_DEFLATED) -> Path:
    """An array that says one size and has another."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(path, "w", packing) as file:
        file.writestr("vertices.npy", header.getvalue() + bytes(size))
    return path


@pytest.mark.parametrize(
    ("shape", "dtype", "size", "message"),
    [
        ((10**6, 5000, 3), "<f4", 12, r"vertices must have 60000000000 bytes for its shape .*, but the file has 12"),
        ((2**62, 2**62), "<f8", 0, "vertices must have .* bytes"),
        ((10**12, 0, 3), "<f4", 0, "its arrays need .* GiB, the file has"),
        ((10**12,), "|V0", 0, "its arrays need"),
        ((300 << 20,), "|u1", 300 << 20, "its arrays need 0.3 GiB, the file has .* no recording compresses 100-fold"),
    ],
)
def test_a_bomb_is_refused_unread(tmp_path: Path, shape: tuple[int, ...], dtype: str, size: int, message: str) -> None:
    path = write_raw(tmp_path / "bomb.npz", shape, dtype, size)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=rf"bomb\.npz: not a complete .npz file .*: {message}"):
            read_arrays(path, ["vertices"])
        assert tracemalloc.get_traced_memory()[1] < 10 << 20
    finally:
        tracemalloc.stop()


def test_packings_that_numpy_does_not_write_are_refused(tmp_path: Path) -> None:
    path = write_raw(tmp_path / "a.npz", (4,), "|u1", 4, zipfile.ZIP_LZMA)
    with pytest.raises(ValueError, match="vertices is compressed by a method that numpy does not use"):
        read_arrays(path, ["vertices"])


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", vertices=np.array([{}], object))
    with pytest.raises(ValueError, match="vertices holds Python objects"):
        read_arrays(tmp_path / "a.npz", ["vertices"])


def test_plain_arrays_are_read(tmp_path: Path) -> None:
    arrays = {"a": np.asfortranarray(np.arange(6.0).reshape(2, 3)), "b": np.array(["x", "yz"]), "c": np.float32(2)}
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    found = read_arrays(tmp_path / "a.npz", ["a", "b", "c", "d"])
    assert list(found) == ["a", "b", "c"]
    for name, array in found.items():
        np.testing.assert_array_equal(array, arrays[name])
