"""The command ``biomechau``: what it writes and prints, and how it fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus.tables import write_mediapipe

from biomechau import __version__
from biomechau.cli import main
from biomechau.reports.learning_demo import SIMULATION, learn
from biomechau.rig import FaceRig, Muscles


@pytest.fixture(scope="module")
def rig_file(tiny_rig: FaceRig, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rig") / "tiny.safetensors"
    tiny_rig.save(path)
    return str(path)


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


@pytest.fixture
def no_viz(monkeypatch: pytest.MonkeyPatch) -> None:
    """As without the ``viz`` extra."""
    for module in ("commands.rig", "commands.forces", "commands.demo", "reports.output"):
        monkeypatch.setattr(f"biomechau.{module}.viz_available", lambda: False)


def assert_error(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    """Exit code 2, nothing on stdout, one line on stderr that holds the words."""
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("biomechau: error: ")
    assert err.count("\n") == 1
    for word in words:
        assert word in err


# --- the program ------------------------------------------------------------------------------------------------------


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"biomechau {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--help"], ["forces", "demo", "rig", "biomechau demo"]),
        (["forces", "--help"], ["--edge-fraction", "--neutral", "--rig", "summary.json"]),
        (["demo", "--help"], ["--num-vertices", "--seed"]),
        (["rig", "--help"], ["import", "info", "show"]),
    ],
)
def test_help(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert all(word in out for word in words)
    assert err == ""


def test_entry_point() -> None:
    command = Path(sys.executable).with_name("biomechau")
    done = subprocess.run([command, "rig", "info", "nowhere.safetensors"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == "biomechau: error: nowhere.safetensors: No such file or directory\n"


def test_pictures_are_imported_when_they_are_drawn() -> None:
    code = "import sys, biomechau.cli; sys.exit(not {'matplotlib', 'pyvista'}.isdisjoint(sys.modules))"
    assert subprocess.run([sys.executable, "-I", "-c", code], check=False).returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="pipes close otherwise elsewhere")
def test_a_reader_that_leaves_ends_the_program_quietly() -> None:
    code = "import sys; from biomechau.cli import main; sys.exit(main(['rig', 'info', 'builtin:1000', '--json']))"
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([sys.executable, "-I", "-c", code], stdout=write, stderr=subprocess.PIPE, check=False)
    finally:
        os.close(write)
    assert done.returncode == 1
    assert done.stderr == b""


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("biomechau.commands.demo.demonstrate", interrupt)
    assert main(["demo"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_what_nobody_foresaw_is_one_line_with_its_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def break_down(*_: object) -> None:
        raise ZeroDivisionError("two\nlines")

    monkeypatch.setattr("biomechau.commands.demo.demonstrate", break_down)
    assert_error(capsys, ["demo"], "ZeroDivisionError: two lines")


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rig", "info", "nowhere", "--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback (most recent call last)" in err
    assert err.splitlines()[-1] == "biomechau: error: nowhere: No such file or directory"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["Missing subcommand", "forces"]),
        (["bogus"], ["bogus"]),
        (["rig"], ["Missing subcommand", "import"]),
        (["forces"], ["INPUT"]),
        (["rig", "import", "x"], ["--out"]),
        (["forces", "x", "--colour", "red"], ["--colour"]),
        (["forces", "x", "--law", "hooke"], ["hooke", "elastic", "newton"]),
        (["forces", "x", "--fps", "fast"], ["--fps", "fast"]),
        (["forces", "x", "--zeta", "-1"], ["zeta must be at least 0, got -1.0"]),
        (["forces", "x", "--neutral", "101"], ["neutral must lie in [0, 100]"]),
        (["forces", "x", "--paper", "--f0", "2"], ["--paper"]),
    ],
)
def test_wrong_arguments(capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]) -> None:
    assert_error(capsys, arguments, *words)


# --- rig --------------------------------------------------------------------------------------------------------------


def write_obj(rig: FaceRig, vertices: torch.Tensor, path: Path) -> None:
    lines = [f"v {x} {y} {z}" for x, y, z in vertices.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in rig.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


def test_import_of_an_obj_folder(tiny_rig: FaceRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "shapes", tmp_path / "new" / "rig.safetensors"
    folder.mkdir()
    write_obj(tiny_rig, tiny_rig.neutral, folder / "rest.obj")
    write_obj(tiny_rig, tiny_rig.neutral + tiny_rig.blendshapes[-1], folder / "jawOpen.obj")
    arguments = ["rig", "import", str(folder), "--out", str(out), "--neutral", "rest", "--scale", "2"]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out}: 99 vertices, 1 shapes, 0 identity modes\n"
    rig = FaceRig.load(out)
    assert rig.provenance["scale"] == "2 cm per unit"
    torch.testing.assert_close(rig.neutral, 2 * tiny_rig.neutral)
    torch.testing.assert_close(rig.blendshapes[0], 2 * tiny_rig.blendshapes[-1], atol=1e-4, rtol=1e-4)
    assert_error(capsys, ["rig", "import", str(folder), "--out", str(out)], "Neutral", "rest.obj")
    assert FaceRig.load(out).num_shapes == 1


def test_import_of_the_built_in_face(tmp_path: Path) -> None:
    assert main(["rig", "import", "builtin:1000", "--out", str(tmp_path / "rig.safetensors")]) == 0
    assert FaceRig.load(tmp_path / "rig.safetensors").num_vertices == 1000


def test_import_of_an_ict_folder(ict_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ict.safetensors"
    assert main(["rig", "import", str(ict_folder), "--out", str(out), "--no-identity"]) == 0
    assert capsys.readouterr().out == f"{out}: 9,409 vertices, 55 shapes, 0 identity modes\n"


def test_import_errors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "rig.safetensors")
    (tmp_path / "empty").mkdir()
    assert_error(capsys, ["rig", "import", "nowhere", "--out", out], "nowhere", "expected a FaceXModel folder")
    assert_error(capsys, ["rig", "import", str(tmp_path / "empty"), "--out", out], "no OBJ files")
    assert_error(capsys, ["rig", "import", "builtin:few", "--out", out], "builtin:few", "number of vertices")
    assert_error(capsys, ["rig", "import", "builtin:12", "--out", out], "[1000, 50000]")
    (tmp_path / "file").write_text("")
    assert_error(capsys, ["rig", "import", "builtin:1000", "--out", str(tmp_path / "file" / "rig")], "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file"]


def test_info_as_a_table(rig_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rig", "info", rig_file]) == 0
    out = capsys.readouterr().out
    for words in ("99", "jawOpen", "16.0 x 20.0", "zygomaticus major (2)", "no known shape", "condition"):
        assert words in out


def test_info_as_json(rig_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rig", "info", rig_file, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["file"] == rig_file
    assert json.loads(out)["vertices"] == 99
    assert err == ""


def test_what_is_not_a_rig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("not a rig")
    assert_error(capsys, ["rig", "info", str(tmp_path / "text")], "text", "safetensors")


def test_show(rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    out = tmp_path / "new" / "shapes.png"
    assert main(["rig", "show", rig_file, "--out", str(out), "--shape", "JawOpen", "browDown_L"]) == 0
    assert capsys.readouterr().out == f"wrote {out}\n"
    assert image.imread(out).std() > 0.05


def test_show_errors(rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyvista")
    out = tmp_path / "shapes.png"
    out.write_bytes(b"earlier")
    assert_error(capsys, ["rig", "show", rig_file, "--out", str(out), "--shape", "earWiggle"], "'earWiggle'")
    assert out.read_bytes() == b"earlier"
    assert_error(capsys, ["rig", "show", rig_file, "--out", str(out / "x.png")], "shapes.png")


@pytest.mark.usefixtures("no_viz")
def test_show_without_viz_says_how_to_get_it(rig_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert_error(capsys, ["rig", "show", rig_file, "--out", "x.png"], 'pip install "biomechau[viz]"')


# --- forces -----------------------------------------------------------------------------------------------------------


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
    assert summary["asymmetry"]["zygomaticus_major"] == pytest.approx(0.4 / 1.4, abs=0.05)
    table = np.genfromtxt(out / "forces.csv", delimiter=",", names=True)
    assert len(table) == summary["frames"]["count"] == 26
    peak = summary["muscles"]["zygomaticus_major_left"]
    assert table["zygomaticus_major_left"].max() == pytest.approx(peak["peak"], rel=1e-4)
    assert table["timestamp"][table["zygomaticus_major_left"].argmax()] == pytest.approx(peak["time_of_peak"])
    printed = capsys.readouterr()
    assert "zygomaticus major" in printed.out
    assert f"wrote {out / 'forces.csv'}" in printed.out
    assert printed.err.startswith("biomechau: warning: left out")


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
    assert header == "frame,timestamp,zygomaticus_major_left,zygomaticus_major_right"


@pytest.mark.usefixtures("no_viz")
def test_forces_errors(rig_file: str, capture_npz: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"

    def fails(*arguments: str, words: tuple[str, ...]) -> None:
        assert_error(capsys, ["forces", *arguments, "--out", str(out)], *words)
        assert not out.exists()

    wrong = tmp_path / "wrong.csv"
    wrong.write_text("Timecode,JawOpen\n00:00:00:00.000,0.5\n")
    fails("nowhere.csv", words=("nowhere.csv", "No such file"))
    fails(str(wrong), words=("wrong.csv:1", "missing column", "eyeBlinkLeft"))
    fails(capture_npz, "--rig", "nowhere", words=("nowhere", "No such file"))
    fails(capture_npz, "--rig", str(wrong), words=("wrong.csv", "safetensors"))
    fails(capture_npz, "--muscles", str(wrong), words=("wrong.csv:1", "missing"))
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


# --- demo -------------------------------------------------------------------------------------------------------------


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    assert main(["demo", "--out", str(tmp_path), "--num-vertices", "1000", "--seed", "3", "--no-training"]) == 0
    out = capsys.readouterr().out
    assert "median of muscles that act" in out
    names = ["demo.png", "forces.csv", "forces.png", "replay.safetensors", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert image.imread(tmp_path / "demo.png").std() > 0.05
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["recovery"]["median_correlation"] > 0.95


@pytest.mark.usefixtures("no_viz")
def test_demo_without_viz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path), "--num-vertices", "1000", "--no-training"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forces.csv", "replay.safetensors", "summary.json"]
    assert capsys.readouterr().err == (
        'biomechau: note: pictures need pyvista and matplotlib: pip install "biomechau[viz]"\n'
    )


@pytest.mark.usefixtures("no_viz")
def test_the_demo_ends_with_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = replace(SIMULATION, frames=64, coarse_vertices=100)
    monkeypatch.setattr("biomechau.commands.demo.learn", partial(learn, simulation=small, epochs=1))
    arguments = ["demo", "--out", str(tmp_path), "--num-vertices", "1000"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "AU24" in out
    assert "3 fold(s) tested on their own test subjects: 5 / 5 / 5 subjects" in out
    names = ["corpus", "forces.csv", "replay.safetensors", "run", "scores", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    # Once more replaces what the first left, and nothing else.
    (tmp_path / "run" / "mine").write_text("")
    for fold in (1, 2, 3):
        (tmp_path / "run" / f"fold{fold}" / "config.json").unlink()
    assert main(arguments) == 2
    assert "run is in the way" in capsys.readouterr().err
    assert (tmp_path / "run" / "mine").exists()
