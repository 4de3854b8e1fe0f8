"""``biomechau corpus bp4d`` and ``corpus disfa``: what they list, write and refuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from corpus.datasets.trees import (
    frames_of,
    make_bp4d,
    make_bp4d_recordings,
    make_disfa,
    make_disfa_recordings,
    write_intensities,
    write_occurrences,
)
from corpus.tables import write_mediapipe

from biomechau.cli import main
from biomechau.corpus import Corpus
from biomechau.rig import FaceRig


@pytest.fixture
def rig(tiny_rig: FaceRig, tmp_path: Path) -> str:
    tiny_rig.save(tmp_path / "tiny.safetensors")
    return str(tmp_path / "tiny.safetensors")


@pytest.fixture
def bp4d(rig: str, tmp_path: Path) -> list[str]:
    """A command line without ``--out`` and ``--check``."""
    root, recordings = make_bp4d(tmp_path / "BP4D"), make_bp4d_recordings(tmp_path / "recordings")
    return ["corpus", "bp4d", str(root), "--coefficients", str(recordings), "--rig", rig]


@pytest.fixture
def disfa(rig: str, tmp_path: Path) -> list[str]:
    root, recordings = make_disfa(tmp_path / "DISFA"), make_disfa_recordings(tmp_path / "recordings")
    return ["corpus", "disfa", str(root), "--coefficients", str(recordings), "--rig", rig]


def _rows(out: str) -> dict[str, list[str]]:
    """The rows of the summary by their first word."""
    return {words[0]: words[1:] for line in out.splitlines() if len(words := line.split()) > 1}


def test_bp4d(bp4d: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "corpus"
    assert main([*bp4d, "--out", str(out)]) == 0
    printed, err = capsys.readouterr()
    rows = _rows(printed)
    assert rows["subjects"] == ["4", "41"]
    assert rows["sequences"] == ["7", "328"]
    assert rows["frames"] == ["672", "146,847"]
    assert rows["masked"][-1] == "5"
    corpus = Corpus.open(out)
    positive, known = (counts.tolist() for counts in corpus.label_counts())
    assert rows["AU07"] == [str(positive[4]), str(known[4]), "5", f"{positive[4] / known[4]:.1%}", "54.9%"]
    assert rows["wrote"] == [str(out)]
    assert "biomechau: note: F001: missing tasks T3, T4, T5, T6, T7, T8\n" in err
    settings = {"labels": "occurrence", "threshold": None, "excluded": None, "frame_offset": None, "recorded_fps": None}
    assert corpus.provenance["settings"] == settings
    assert main([*bp4d, "--out", str(out)]) == 2
    assert "exists; choose a new folder" in capsys.readouterr().err
    assert main([*bp4d, "--out", str(out), "--overwrite", "--action-units", "12", "1"]) == 0
    assert Corpus.open(out).action_units == (12, 1)


def test_check_lists_and_writes_nothing(bp4d: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert main([*bp4d, "--check"]) == 0
    out, err = capsys.readouterr()
    assert "note: F001_T1: labelled frames without a face, masked: 2 (2450-2451)\n" in out
    assert out.endswith("9 findings, 0 of them faults\n")
    assert err == ""
    assert sorted(tmp_path.rglob("*")) == before
    write_mediapipe(tmp_path / "recordings" / "M002_T2.csv", range(96))
    (tmp_path / "BP4D" / "AUCoding" / "AU_OCC" / "F004_T1.csv").write_text("0,1\n")
    images = tmp_path / "images"
    (images / "F001" / "T1").mkdir(parents=True)
    for name in ("2440.jpg", "02440.jpg"):
        (images / "F001" / "T1" / name).write_bytes(b"")
    assert main([*bp4d, "--check", "--images", str(images)]) == 2
    out, err = capsys.readouterr()
    assert "fault: M002_T2: the recording has frames 0 to 95, the labels 60 to 155: give --frame-offset first" in out
    assert "fault: F004_T1: " in out
    assert "fault: F001_T1: " in out
    assert f"note: F001_T2: no images below {images}" in out
    assert err == "biomechau: error: 3 faults, listed on standard output\n"
    assert not (tmp_path / "corpus").exists()


def test_faults_stop_the_writing(bp4d: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_occurrences(tmp_path / "BP4D" / "AUCoding" / "AU_OCC" / "F001_T1.csv", [2440, 2441, 2440])
    out = tmp_path / "corpus"
    assert main([*bp4d, "--out", str(out)]) == 2
    printed, err = capsys.readouterr()
    assert printed == ""
    assert "error: 1 fault: F001_T1: " in err
    assert "F001_T1.csv:4: frame 2440 appears twice" in err
    assert not out.exists()
    assert main([*bp4d, "--out", str(out), "--skip-faulty"]) == 0
    assert "biomechau: warning: F001_T1: " in capsys.readouterr().err
    assert len(Corpus.open(out)) == 6


def test_offset_and_exclusions(bp4d: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = tmp_path / "BP4D" / "AUCoding" / "AU_OCC"
    for path in labels.iterdir():
        if path.name not in ("F001_T1.csv", "M002_T2.csv"):
            path.unlink()
    for id in ("F001_T1", "M002_T2"):
        write_mediapipe(tmp_path / "recordings" / f"{id}.csv", range(96))
    (tmp_path / "exclude.csv").write_text("F001_T1,2440\n")
    arguments = [*bp4d, "--out", str(tmp_path / "corpus"), "--exclude", str(tmp_path / "exclude.csv")]
    assert main(arguments) == 2
    assert main([*arguments, "--frame-offset", "60", "--skip-faulty"]) == 0
    assert Corpus.open(tmp_path / "corpus").ids == ("M002_T2",)
    assert main([*arguments, "--frame-offset", "first", "--overwrite"]) == 0
    corpus = Corpus.open(tmp_path / "corpus")
    assert all(sequence.valid.all() for sequence in corpus)
    assert (corpus["F001_T1"].labels[0] == -1).all()
    assert corpus.provenance["settings"]["frame_offset"] == "first"
    assert corpus.provenance["settings"]["excluded"] == "exclude.csv"
    capsys.readouterr()


def test_intensities(bp4d: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for unit in (6, 10, 12, 14, 17):
        folder = tmp_path / "BP4D" / "AU-Intensity-Codes3.0" / f"AU{unit:02d}"
        write_intensities(folder / f"M002_T2_AU{unit:02d}.csv", unit, frames_of("M002_T2"))
    arguments = [*bp4d, "--out", str(tmp_path / "corpus"), "--labels", "intensity"]
    for threshold, rate in ((2, 4 / 6), (4, 2 / 6)):
        assert main([*arguments, "--threshold", str(threshold), "--overwrite"]) == 0
        corpus = Corpus.open(tmp_path / "corpus")
        assert corpus.action_units == (6, 10, 12, 14, 17)
        assert corpus.label_rates().tolist() == pytest.approx([rate] * 5, abs=0.05)
        assert corpus.provenance["settings"]["threshold"] == threshold
    assert main([*arguments, "--overwrite", "--action-units", "1"]) == 2
    assert "BP4D has no intensity labels for AU1" in capsys.readouterr().err


def test_disfa(disfa: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*disfa, "--out", str(tmp_path / "corpus")]) == 0
    printed, err = capsys.readouterr()
    rows = _rows(printed)
    assert rows["subjects"] == ["4", "27"]
    assert rows["AU25"][-1] == "27.7%"
    assert "note: SN010: recorded frames without a label, left out: 1\n" in err
    corpus = Corpus.open(tmp_path / "corpus")
    assert corpus.fps == 20
    assert corpus.frames == {"SN001": 64, "SN002": 64, "SN003": 64, "SN010": 63}
    assert main([*disfa, "--check", "--videos", str(tmp_path)]) == 0
    assert f"note: SN001: no video below {tmp_path}\n" in capsys.readouterr().out
    assert main([*disfa, "--check", "--threshold", "3", "--action-units", "1", "26"]) == 0
    assert "AU26" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--out is required unless --check is given"),
        (["--out", "c", "--images", "i"], "--images requires --check"),
        (["--out", "c", "--videos", "i"], "--videos requires --check"),
        (["--check", "--exclude", "nowhere.txt"], "nowhere.txt: No such file"),
        (["--check", "--images", "nowhere"], "nowhere: No such file"),
        (["--check", "--threshold", "7"], "threshold must lie in [1, 5], got 7"),
        (["--check", "--frame-offset", "second"], "second"),
    ],
)
def test_errors(
    disfa: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*disfa, *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert not (tmp_path / "c").exists()
