"""Rig files: the round trip, and every way a file can be broken."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from biomechau.rig import FaceRig


@pytest.fixture
def saved(tiny_rig: FaceRig, tmp_path: Path) -> Path:
    tiny_rig.save(tmp_path / "rig.safetensors")
    return tmp_path / "rig.safetensors"


def _rewrite(path: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object]) -> None:
    """Change the tensors or the metadata of a rig file behind the package's back."""
    with safe_open(path, "pt") as file:
        metadata = dict(file.metadata())
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors, metadata)
    save_file(tensors, path, metadata)


def test_round_trip_is_exact(tiny_rig: FaceRig, saved: Path) -> None:
    rig = FaceRig.load(saved)
    for name in ("neutral", "faces", "blendshapes", "identity"):
        assert torch.equal(getattr(rig, name), getattr(tiny_rig, name)), name
    assert rig.names == tiny_rig.names
    assert rig.identity_names == tiny_rig.identity_names
    assert rig.provenance == tiny_rig.provenance


def test_rig_without_shapes_and_identity_round_trips(tiny_rig: FaceRig, tmp_path: Path) -> None:
    FaceRig(tiny_rig.neutral, tiny_rig.faces, tiny_rig.blendshapes[:0], ()).save(tmp_path / "bare")
    assert FaceRig.load(tmp_path / "bare").blendshapes.shape == (0, 99, 3)


def test_tensors_that_share_memory_can_be_saved(tiny_rig: FaceRig, tmp_path: Path) -> None:
    FaceRig(tiny_rig.blendshapes[0], tiny_rig.faces, tiny_rig.blendshapes, tiny_rig.names).save(tmp_path / "shared")
    assert torch.equal(FaceRig.load(tmp_path / "shared").neutral, tiny_rig.blendshapes[0])


def test_loaded_rig_can_replace_its_own_file(saved: Path) -> None:
    rig = FaceRig.load(saved).select(["jawOpen"])
    rig.save(saved)
    assert torch.equal(FaceRig.load(saved).blendshapes, rig.blendshapes)
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_failed_save_keeps_the_old_file_and_leaves_nothing(
    tiny_rig: FaceRig, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def fail(path: Path, data: bytes) -> None:
        path.write_text("half")
        raise OSError("disk full")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OSError, match="disk full"):
        tiny_rig.save(saved)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]


def test_saving_into_a_missing_folder_names_it(tiny_rig: FaceRig, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no folder .*nowhere"):
        tiny_rig.save(tmp_path / "nowhere" / "rig.safetensors")


def test_a_path_that_cannot_be_written_is_an_os_error(tiny_rig: FaceRig, tmp_path: Path) -> None:
    with pytest.raises(OSError, match=f"'{tmp_path}/n{{300}}'"):
        tiny_rig.save(tmp_path / ("n" * 300))  # longer than file systems allow
    assert not list(tmp_path.iterdir())


def test_saved_file_has_the_mode_of_any_new_file(saved: Path) -> None:
    other = saved.with_name("other")
    other.touch()
    assert saved.stat().st_mode == other.stat().st_mode


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        FaceRig.load(tmp_path / "none.safetensors")


@pytest.mark.parametrize("keep", [0, 5, 200, -1])
def test_truncated_file_is_named(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"rig\.safetensors: not a complete safetensors file"):
        FaceRig.load(saved)


def test_other_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rig.obj").write_text("v 0 0 0\n" * 10)
    with pytest.raises(ValueError, match=r"rig\.obj: not a complete safetensors file"):
        FaceRig.load(tmp_path / "rig.obj")


BROKEN: dict[str, tuple[Callable[[dict[str, Tensor], dict[str, str]], object], str]] = {
    "format": (lambda t, m: m.pop("format"), "not a rig file"),
    "version": (lambda t, m: m.update(version="2"), "version 1 expected, found 2"),
    "tensor": (lambda t, m: t.pop("faces"), "missing tensor faces"),
    "dtype": (lambda t, m: t.update(neutral=t["neutral"].double()), "neutral must be float32, got torch.float64"),
    "faces-dtype": (lambda t, m: t.update(faces=t["faces"].int()), "faces must be int64"),
    "shape": (lambda t, m: t.update(neutral=t["neutral"][1:]), r"blendshapes must have shape \(8, 98, 3\)"),
    "nan": (lambda t, m: t["neutral"][4].fill_(torch.nan), "neutral is not finite at vertex 4"),
    "names": (lambda t, m: m.pop("names"), "metadata 'names' must be a JSON list of strings, found None"),
    "names-nested": (lambda t, m: m.update(names="[" * 100_000), "metadata 'names' must be a JSON list of strings"),
    "names-digits": (lambda t, m: m.update(names="1" * 10_000), "JSON list of strings, found '1{1,60} ... 1{1,60}'$"),
    "names-kind": (lambda t, m: m.update(names=json.dumps([1] * 8)), "metadata 'names' must be a JSON list of strings"),
    "provenance": (lambda t, m: m.update(provenance="[]"), "metadata 'provenance' must be a JSON dict of strings"),
}


@pytest.mark.parametrize(("change", "message"), BROKEN.values(), ids=BROKEN)
def test_broken_file_is_named_with_what_is_wrong(
    saved: Path, change: Callable[[dict[str, Tensor], dict[str, str]], object], message: str
) -> None:
    _rewrite(saved, change)
    with pytest.raises(ValueError, match=rf"rig\.safetensors: .*{message}"):
        FaceRig.load(saved)


def test_ict_rig_round_trips(ict_rig: FaceRig, tmp_path: Path) -> None:
    ict_rig.save(tmp_path / "ict.safetensors")
    assert torch.equal(FaceRig.load(tmp_path / "ict.safetensors").blendshapes, ict_rig.blendshapes)


def test_the_same_rig_gives_the_same_bytes(tiny_rig: FaceRig, tmp_path: Path) -> None:
    """safetensors orders metadata at random, anew in every call."""
    for copy in range(8):
        tiny_rig.save(tmp_path / f"{copy}.safetensors")
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1
    assert FaceRig.load(tmp_path / "0.safetensors").provenance == tiny_rig.provenance
