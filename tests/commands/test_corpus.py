"""``biomechau corpus``: what it prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from biomechau.cli import main
from biomechau.corpus import CorpusSequence, CorpusWriter
from biomechau.rig import FaceRig


@pytest.fixture
def folder(tiny_rig: FaceRig, tmp_path: Path) -> Path:
    """Two subjects of 8 and 6 frames; AU1 on in half, AU4 unknown, the last frame of each not valid."""
    with CorpusWriter(
        tmp_path / "corpus",
        tiny_rig,
        (1, 4),
        25.0,
        provenance={"source": "made by hand", "settings": {"seed": 3}, "people": [{"name": "anna"}]},
    ) as writer:
        for subject, frames in (("anna", 8), ("ben", 6)):
            labels = torch.stack([torch.arange(frames) % 2, torch.full((frames,), -1)], 1).to(torch.int8)
            coefficients = torch.zeros(frames, tiny_rig.num_shapes)
            times, valid = torch.arange(frames, dtype=torch.float64) / 25, torch.arange(frames) < frames - 1
            writer.add(CorpusSequence(f"{subject}-1", subject, "smile", coefficients, labels, times, valid))
    return tmp_path / "corpus"


def error_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line on stderr of a command that fails and prints nothing else."""
    assert main(["corpus", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("biomechau: error: ")
    assert err.count("\n") == 1
    return err


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "--help"]) == 0
    out = capsys.readouterr().out
    assert "info" in out
    assert "check" in out


def test_info_as_tables(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "info", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in (
        "2: anna, ben",
        "smile",
        "14 at 25 fps",
        "8 shapes",
        "labels int8",
        "made by hand",
        "seed 3",
        "1, with their",
    ):
        assert words in out
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.strip().startswith("AU")}
    assert rows == {"AU01": ["5", "12", "2", "41.7%"], "AU04": ["0", "0", "14"]}


def test_info_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "info", str(folder), "--json"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    description = json.loads(out)
    assert description["folder"] == str(folder)
    assert description["subjects"] == {"anna": 8, "ben": 6}
    assert (description["sequences"], description["frames"], description["duration"]) == (2, 14, 14 / 25)
    assert description["action_units"]["AU01"] == {"on": 5, "known": 12, "masked": 2, "rate": 5 / 12}
    assert description["action_units"]["AU04"]["rate"] is None
    assert description["tensors"]["coefficients"] == {"dtype": "float32", "shape": [8]}
    assert description["provenance"] == {
        "source": "made by hand",
        "settings": {"seed": 3},
        "people": [{"name": "anna"}],
    }


def test_check(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "check", str(folder)]) == 0
    assert capsys.readouterr() == (f"{folder}: 2 sequences, 14 frames, no faults\n", "")


def test_check_reads_every_value(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / "sequences" / "ben-1.safetensors"
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    tensors["coefficients"][3, 2] = torch.nan
    path.unlink()
    save_file(tensors, path)
    assert main(["corpus", "info", str(folder)]) == 0
    capsys.readouterr()
    assert f"{path}: sequence 'ben-1': coefficients is not finite in frame 3" in error_of(capsys, "check", str(folder))


@pytest.mark.parametrize("command", ["info", "check"])
def test_errors(tiny_rig: FaceRig, folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert "nowhere" in error_of(capsys, command, "nowhere")
    assert "CORPUS" in error_of(capsys, command)
    tiny_rig.select(["jawOpen"]).save(folder / "rig.safetensors")
    assert "rig.safetensors: not the rig that the corpus was made with" in error_of(capsys, command, str(folder))
    (folder / "sequences" / "ben-1.safetensors").write_bytes(b"")
    data = json.loads((folder / "corpus.json").read_text())
    (folder / "corpus.json").write_text(json.dumps({**data, "version": 7}))
    assert "corpus format version 1 expected, found 7" in error_of(capsys, command, str(folder))
