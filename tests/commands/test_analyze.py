"""``biomechau analyze``: many recordings, some of them broken, done once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from commands.small import read_csv

from biomechau.cli import main
from biomechau.rig.names import ARKIT_SHAPES


def _smile(path: Path, left: float = 0.8, right: float = 0.8) -> None:
    """Two seconds at 30 frames a second: a smile that comes and goes on each side."""
    time = np.arange(60) / 30
    c = np.zeros((60, len(ARKIT_SHAPES)))
    for name, size in (("mouthSmileLeft", left), ("mouthSmileRight", right)):
        c[:, ARKIT_SHAPES.index(name)] = size * np.sin(np.pi * time / 2) ** 2
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, coefficients=c, names=np.array(ARKIT_SHAPES), timestamp=time, fps=30.0)


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Of two people, one with a right side that pulls 60 % as much as the left, and a file that is no recording."""
    _smile(tmp_path / "in/anna/first.npz")
    _smile(tmp_path / "in/anna/second.npz", 0.5, 0.5)
    _smile(tmp_path / "in/ben/first.npz", 0.8, 0.48)
    (tmp_path / "in/ben/broken.csv").write_text("nothing\n")
    return tmp_path / "in"


def _times(out: Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/forces.csv")}


@pytest.mark.usefixtures("no_viz")
def test_a_broken_recording_stops_no_other_and_what_is_done_is_kept(
    recordings: Path, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    command = ["analyze", str(recordings), "--run", str(run_folder), "--out", str(out), "--jobs", "1"]
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "biomechau: error: broken: " in err
    assert "1 of 4 recordings could not be analysed" in err
    rows = {row["recording"]: row for row in read_csv(out / "study.csv")}
    assert list(rows) == ["anna_first", "second", "ben_first"]
    assert [row["folder"] for row in rows.values()] == ["anna", "anna", "ben"]
    # The planted weakness, and no other: (1 - .6) / (1 + .6).
    index = {name: float(row["zygomaticus_major_ratio_of_sums"]) for name, row in rows.items()}
    assert index["ben_first"] == pytest.approx(0.25, abs=0.02)
    assert abs(index["anna_first"]) < 0.02
    assert abs(index["second"]) < 0.02
    for name, row in rows.items():
        summary = json.loads((out / name / "summary.json").read_text())
        muscle = summary["muscles"]["zygomaticus_major_left"]
        assert float(row["zygomaticus_major_left_peak"]) == pytest.approx(muscle["peak"], rel=1e-5)
        assert float(row["AU12_rate"]) == pytest.approx(summary["action_units"]["AU12"]["share_on"], rel=1e-5)
        frames = read_csv(out / name / "forces.csv")
        assert len(frames) == len(read_csv(out / name / "action_units.csv")) == summary["frames"]["count"]
    assert "broken" in (out / "index.html").read_text()

    before = _times(out)
    assert main(command) == 2
    assert _times(out) == before
    assert "3 of 4 recordings are finished and kept" in capsys.readouterr().out

    _smile(recordings / "anna/second.npz", 0.3, 0.3)
    (recordings / "ben/broken.csv").unlink()
    assert main(command) == 0
    after = _times(out)
    assert {name for name in after if after[name] != before[name]} == {"second"}
    assert main([*command, "--sparsity", "0.02"]) == 0
    assert all(time != after[name] for name, time in _times(out).items())


@pytest.mark.usefixtures("no_viz")
def test_processes_give_the_same_files(recordings: Path, run_folder: Path, tmp_path: Path) -> None:
    command = ["analyze", str(recordings / "anna"), "--run", str(run_folder)]
    for jobs in ("1", "2"):
        assert main([*command, "--out", str(tmp_path / jobs), "--jobs", jobs]) == 0
    one, two = tmp_path / "1", tmp_path / "2"
    assert (one / "study.csv").read_bytes() == (two / "study.csv").read_bytes()
    for name in ("first", "second"):
        for file in ("forces.csv", "action_units.csv"):
            assert (one / name / file).read_bytes() == (two / name / file).read_bytes()


def test_pages_pictures_and_overlay(recordings: Path, run_folder: Path, tmp_path: Path) -> None:
    av = pytest.importorskip("av")
    pytest.importorskip("pyvista")
    out = tmp_path / "out"
    command = ["analyze", str(recordings / "ben/first.npz"), "--run", str(run_folder), "--out", str(out), "--overlay"]
    assert main([*command, "--rig", "builtin:1500"]) == 0
    assert 'href="first/report.html"' in (out / "index.html").read_text()
    assert "AU12" in (out / "first/report.html").read_text()
    with av.open(str(out / "first/overlay.mp4")) as video:
        frames = sum(1 for _ in video.decode(video=0))
    assert frames == len(read_csv(out / "first/forces.csv"))


def test_errors_name_what_is_wrong(recordings: Path, tmp_path: Path, fails: Callable[..., None]) -> None:
    fails("analyze", tmp_path / "gone", words="no such file or folder")
    fails("analyze", recordings, "--jobs", "0", words="--jobs must be at least 1")
    fails("analyze", recordings, "--run", tmp_path, "--out", tmp_path / "out", words=str(tmp_path))
    assert not (tmp_path / "out").exists()
