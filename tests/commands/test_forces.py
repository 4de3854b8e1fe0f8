"""``biomechau forces``: what it writes and prints, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands.small import assert_error, read_csv
from corpus.made_recordings import timecode, write_recording
from corpus.tables import write_mediapipe, write_table

from biomechau.cli import main
from biomechau.rig import FaceRig, Muscles


@pytest.fixture(scope="module")
def capture_npz(tiny_rig: FaceRig, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second of smiling, left stronger than right, at 30 fps."""
    path = tmp_path_factory.mktemp("capture") / "smile.npz"
    bump = np.sin(np.linspace(0, np.pi, 31, dtype=np.float32)) ** 2
    coefficients = np.zeros((31, tiny_rig.num_shapes), np.float32)
    coefficients[:, tiny_rig.names.index("mouthSmile_L")] = 0.9 * bump
    coefficients[:, tiny_rig.names.index("mouthSmile_R")] = 0.5 * bump
    np.savez(path, coefficients=coefficients, names=np.array(tiny_rig.names), fps=30.0)
    return str(path)


def test_forces_writes_table_summary_and_picture(
    rig_file: str, capture_npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    out = tmp_path / "a" / "b"
    assert main(["forces", capture_npz, "--rig", rig_file, "--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "forces.csv",
        "forces.png",
        "replay.safetensors",
        "summary.json",
    ]
    assert image.imread(out / "forces.png").std() > 0.05
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["input"]["path"] == capture_npz
    assert summary["rig"]["path"] == rig_file
    assert summary["frames"]["fps"] == 25
    assert summary["ratio_of_sums"]["zygomaticus_major"] == pytest.approx(0.4 / 1.4, abs=0.05)
    index = pytest.approx(0.4 / 1.4, abs=0.05)
    assert summary["asymmetry_index"] == {"total": index, "upper": None, "lower": index}
    table = np.genfromtxt(out / "forces.csv", delimiter=",", names=True)
    assert len(table) == summary["frames"]["count"] == 26
    peak = summary["muscles"]["zygomaticus_major_left"]
    assert table["zygomaticus_major_left"].max() == pytest.approx(peak["peak"], rel=1e-4)
    assert table["timestamp"][table["zygomaticus_major_left"].argmax()] == pytest.approx(peak["time_of_peak"])
    printed = capsys.readouterr()
    assert "zygomaticus major" in printed.out
    assert f"wrote {out / 'forces.csv'}" in printed.out
    assert printed.err.startswith("biomechau: warning: the rig has no moving shapes for these muscles (left out): ")


@pytest.mark.usefixtures("no_viz")
def test_forces_as_json_prints_the_summary_and_nothing_else(
    rig_file: str, capture_npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["forces", capture_npz, "--rig", rig_file, "--out", str(tmp_path), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert 'pip install "biomechau[viz]"' in err.splitlines()[-1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forces.csv", "replay.safetensors", "summary.json"]


@pytest.mark.usefixtures("no_viz")
def test_options_of_the_dataclasses_arrive(rig_file: str, capture_npz: str, tmp_path: Path) -> None:
    options = ["--f0", "2", "--fps", "50", "--neutral", "5", "--cutoff", "None", "--no-slack", "--force", "vector"]
    assert main(["forces", capture_npz, "--rig", rig_file, "--out", str(tmp_path), *options]) == 0
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert (summary["physics"]["f0"], summary["physics"]["force"], summary["frames"]["fps"]) == (2, "vector", 50)
    assert (summary["inverse"]["neutral"], summary["inverse"]["cutoff"]) == (5, None)
    assert summary["inverse"]["slack"] is False
    header = (tmp_path / "forces.csv").read_text().splitlines()[0]
    assert "digastric_x,digastric_y,digastric_z,digastric" in header


@pytest.mark.usefixtures("no_viz")
def test_paper_sets_all_physics(rig_file: str, capture_npz: str, tmp_path: Path) -> None:
    assert main(["forces", capture_npz, "--rig", rig_file, "--out", str(tmp_path), "--paper"]) == 0
    physics = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["physics"]
    assert (physics["law"], physics["force"], physics["scheme"]) == ("newton", "vector", "explicit")


@pytest.mark.usefixtures("no_viz")
def test_meshes_in_other_units(
    tiny_rig: FaceRig, rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "smile.npz", tmp_path / "out"
    bump = np.sin(np.linspace(0, np.pi, 31, dtype=np.float32))[:, None, None] ** 2
    smile = bump * tiny_rig.blendshapes[tiny_rig.names.index("mouthSmile_L")].numpy()
    np.savez(path, vertices=10 * (tiny_rig.neutral.numpy() + smile), fps=30.0)
    arguments = ["forces", str(path), "--rig", rig_file, "--out", str(out), "--json"]
    assert_error(capsys, arguments, "smile.npz", "10 times as large as the rig", "scale")
    assert main([*arguments, "--scale", "0.1"]) == 0
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    assert summary["input"]["source"] == "vertices (0.1 cm per unit) of smile.npz"
    assert summary["muscles"]["zygomaticus_major_left"]["peak"] > 0.5


@pytest.mark.usefixtures("no_viz")
def test_a_muscle_table_of_the_user(rig_file: str, capture_npz: str, tmp_path: Path) -> None:
    Muscles(m for m in Muscles.facs() if m.name == "zygomaticus_major").save(tmp_path / "mine.csv")
    arguments = ["forces", capture_npz, "--rig", rig_file, "--muscles", str(tmp_path / "mine.csv")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    header = (tmp_path / "out" / "forces.csv").read_text().splitlines()[0]
    assert header == "frame,timestamp,recorded_frame,quality,zygomaticus_major_left,zygomaticus_major_right"


@pytest.mark.usefixtures("no_viz")
def test_forces_errors(rig_file: str, capture_npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    def fails(*arguments: str, words: tuple[str, ...]) -> None:
        assert_error(capsys, ["forces", *arguments, "--out", str(out)], *words)
        assert not out.exists()

    wrong = tmp_path / "wrong.csv"
    wrong.write_text("Timecode,smile\n00:00:00:00.000,0.5\n")
    fails("nowhere.csv", words=("nowhere.csv", "No such file"))
    fails(str(wrong), words=("wrong.csv:1", "none of its 2 columns", "Timecode, smile", "--channels MAP.csv"))
    fails(capture_npz, "--rig", "nowhere", words=("nowhere: No such file", "biomechau rig import"))
    fails(capture_npz, "--rig", str(wrong), words=("wrong.csv", "safetensors"))
    fails(capture_npz, "--muscles", str(wrong), words=("wrong.csv:1", "missing"))
    fails(str(tmp_path), "--rig", rig_file, words=("wrong.csv:1", "none of its 2 columns"))
    (tmp_path / "frame1.obj").touch()
    fails(str(tmp_path), "--rig", rig_file, words=("fps must be given",))


@pytest.mark.usefixtures("no_viz")
def test_a_failure_keeps_the_earlier_result(
    rig_file: str,
    capture_npz: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["forces", capture_npz, "--rig", rig_file, "--out", str(tmp_path)]
    assert main(arguments) == 0
    capsys.readouterr()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("biomechau.reports.output.write_summary", fail)
    assert main([*arguments, "--f0", "2"]) == 2
    assert capsys.readouterr().err.endswith("biomechau: error: disk full\n")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.usefixtures("no_viz")
def test_an_output_that_cannot_be_written(
    rig_file: str, capture_npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    assert main(["forces", capture_npz, "--rig", rig_file, "--out", str(tmp_path / "file")]) == 2
    assert "file is a file, expected a directory" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.usefixtures("no_viz")
def test_forces_of_a_real_capture(capture_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["forces", str(capture_csv), "--out", str(tmp_path), "--rig", "builtin:1000"]) == 0
    assert "7 frames dropped in the recording: 7 after frame 5" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames"]["dropped"] == [{"after_recorded_frame": 5, "count": 7}]
    assert "TongueOut" in summary["channels"]["unused"]


@pytest.mark.usefixtures("no_viz")
def test_forces_of_mediapipe_names_dead_channels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_mediapipe(tmp_path / "clip.csv", range(30), lost=(7,), dead=("cheekPuff",))
    arguments = ["forces", str(path), "--out", str(tmp_path / "out"), "--rig", "builtin:1000", "--recorded-fps", "25"]
    assert main(arguments) == 0
    assert "biomechau: warning: channels that never move by 0.01: 1 (cheekPuff)\n" in capsys.readouterr().err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["input"]["source"] == "MediaPipe blendshapes of clip.csv"


@pytest.mark.usefixtures("no_viz")
def test_frames_without_a_face_have_empty_cells(
    rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lost = set(range(60, 160)) - {150}
    path = write_recording(tmp_path / "a.csv", 160, 30, {"timestamp": lambda row: f"{row / 30:.4f}"}, lost=lost)
    assert main(["forces", str(path), "--rig", rig_file, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "no face in 99 of 160 frames" in out
    assert "resampled from 30 to 25 frames a second; --fps 30 keeps them" in out
    assert "brief detections between long stretches without a face, left out: frame 150 (5.00 s)" in err
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["frames"]["recorded"] == {"count": 160, "fps": 30, "without_face": 99, "lone_detections": [150]}
    rows = read_csv(tmp_path / "out" / "forces.csv")
    empty = [row["frame"] for row in rows if row["zygomaticus_major_left"] == ""]
    assert empty == [str(frame) for frame in range(50, 133)]
    assert [row["recorded_frame"] for row in rows[:4]] == ["0", "1", "2", "4"]
    peak = max(float(row["zygomaticus_major_left"] or 0) for row in rows)
    assert summary["muscles"]["zygomaticus_major_left"]["peak"] == pytest.approx(peak, rel=1e-4)


@pytest.mark.usefixtures("no_viz")
def test_options_of_reading_arrive(rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ("jawOpen", "mouthSmileLeft")
    path = write_recording(
        tmp_path / "a.csv",
        100,
        25,
        {"Timecode": timecode(1), "person": lambda row: row % 2},
        names=names,
        spell=lambda name: f"{name}X",
    )
    arguments = ["forces", str(path), "--rig", rig_file, "--out", str(tmp_path / "out"), "--json"]
    assert_error(capsys, arguments, "a.csv:1", "none of its 4 columns", "--channels MAP.csv")
    table = write_table(tmp_path / "map.csv", ["channel", "shape"], [["mouthSmileLeftX", "mouthSmile_L"]])
    arguments += ["--channels", str(table)]
    assert_error(capsys, arguments, "2 faces by column person", "--face 0")
    arguments += ["--face", "1"]
    assert_error(capsys, arguments, "the typical step is 2 s", "--count-rows --recorded-fps F")
    assert main([*arguments, "--count-rows", "--recorded-fps", "25"]) == 0
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["frames"]["count"], summary["frames"]["end"]) == (50, 49 / 25)
    assert summary["muscles"]["zygomaticus_major_left"]["measured"]
    assert not summary["muscles"]["digastric"]["measured"]
