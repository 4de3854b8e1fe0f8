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


@pytest.mark.slow
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


@pytest.mark.slow
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


def _held(path: Path, rest: float, moving: bool) -> None:
    """Two seconds of a tracker that is off by ``rest`` in one channel, with a smile that is held or none."""
    c = np.zeros((60, len(ARKIT_SHAPES)))
    c[:, ARKIT_SHAPES.index("mouthSmileLeft")] = rest + 0.6 * moving
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, coefficients=c, names=np.array(ARKIT_SHAPES), timestamp=np.arange(60) / 30, fps=30.0)


def _peak(out: Path, name: str) -> float:
    return json.loads((out / name / "summary.json").read_text())["muscles"]["zygomaticus_major_left"]["peak"]


@pytest.mark.usefixtures("no_viz")
def test_a_percentile_is_of_a_person_and_not_of_a_recording(run_folder: Path, tmp_path: Path) -> None:
    _held(tmp_path / "in/anna/smile.npz", 0.2, True)
    _held(tmp_path / "in/anna/rest.npz", 0.2, False)
    _held(tmp_path / "in/ben/alone.npz", 0.2, True)
    out = tmp_path / "out"
    command = ["analyze", str(tmp_path / "in"), "--run", str(run_folder), "--out", str(out), "--jobs", "1"]
    assert main([*command, "--neutral", "10"]) == 0
    # Of a recording alone, a smile that is held throughout is taken for rest.
    assert _peak(out, "alone") < 0.05
    assert _peak(out, "smile") == pytest.approx(0.6, abs=0.1)
    summary = json.loads((out / "smile" / "summary.json").read_text())
    assert summary["neutral_face"] == "percentile 10 of rest, smile"
    assert any("percentile 10 of 4.0 s: below 30 s" in warning for warning in summary["warnings"])
    # The neutral face depends on every recording of the person.
    before = _times(out)
    _held(tmp_path / "in/anna/rest.npz", 0.3, False)
    assert main([*command, "--neutral", "10"]) == 0
    after = _times(out)
    assert {name for name in after if after[name] != before[name]} == {"smile", "rest"}
    # A recording that is broken does not stop the others of its person.
    (tmp_path / "in/anna/broken.csv").write_text("nothing\n")
    assert main([*command, "--neutral", "10"]) == 2
    assert _peak(out, "smile") == pytest.approx(0.5, abs=0.1)


@pytest.mark.usefixtures("no_viz")
def test_a_recording_at_rest_tells_the_neutral_face(run_folder: Path, tmp_path: Path) -> None:
    _held(tmp_path / "in/anna/smile.npz", 0.2, True)
    _held(tmp_path / "rest.npz", 0.2, False)
    command = ["analyze", str(tmp_path / "in"), "--run", str(run_folder), "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main([*command, "--neutral-from", str(tmp_path / "rest.npz")]) == 0
    assert _peak(tmp_path / "out", "smile") == pytest.approx(0.6, abs=0.1)
    before = _times(tmp_path / "out")
    _held(tmp_path / "rest.npz", 0.4, False)
    assert main([*command, "--neutral-from", str(tmp_path / "rest.npz")]) == 0
    assert _times(tmp_path / "out") != before
    assert _peak(tmp_path / "out", "smile") == pytest.approx(0.4, abs=0.1)


@pytest.mark.usefixtures("no_viz")
def test_forces_and_predict_take_frames_at_rest(run_folder: Path, tmp_path: Path, fails: Callable[..., None]) -> None:
    c = np.zeros((90, len(ARKIT_SHAPES)))
    c[:, ARKIT_SHAPES.index("mouthSmileLeft")] = [0.8] * 60 + [0.2] * 30
    path = tmp_path / "clip.npz"
    np.savez(path, coefficients=c, names=np.array(ARKIT_SHAPES), timestamp=np.arange(90) / 30, fps=30.0)
    assert main(["forces", str(path), "--out", str(tmp_path / "f"), "--neutral-frames", "62:89"]) == 0
    # The force falls below rest on the way down, and stands at .6 before.
    assert _peak(tmp_path, "f") == pytest.approx(0.6, abs=0.15)
    summary = json.loads((tmp_path / "f/summary.json").read_text())
    assert summary["neutral_face"] == "median of the frames 62 to 89 of the recording"
    command = ["predict", str(path), "--run", str(run_folder), "--out", str(tmp_path / "p")]
    assert main([*command, "--neutral-frames", "62:89"]) == 0
    neutral = json.loads((tmp_path / "p/summary.json").read_text())["neutral"]
    assert max(neutral.values()) == pytest.approx(0.2, abs=1e-6)
    for frames, words in (
        ("62-89", "--neutral-frames must be the first and the last frame, as 0:24"),
        ("9:2", "--neutral-frames must be the first and the last frame"),
        ("200:300", "clip: the face should rest in the frames 200 to 300, but the recording ends at frame 89"),
        ("80:90", "but the recording ends at frame 89"),
    ):
        fails("forces", path, "--neutral-frames", frames, words=words)
    fails("forces", path, "--neutral-frames", "0:9", "--neutral", "10", words="--neutral takes a percentile")
    fails("forces", path, "--neutral-from", tmp_path / "gone.csv", words="gone.csv")
