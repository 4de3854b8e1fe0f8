"""``biomechau rig``: what it imports, tells and draws, and how it fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from commands.small import assert_error

from biomechau.cli import main
from biomechau.rig import FaceRig, Muscles


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
    said, warned = capsys.readouterr()
    assert said.startswith(f"{out}: 99 vertices, 1 shapes, 0 identity modes\n32 cm wide, 40 cm tall, ")
    assert "muscles found: 1 of the 34 that ARKit's shapes can tell; the others need the shapes browInnerUp_L, " in said
    assert warned == ""
    rig = FaceRig.load(out)
    assert rig.provenance["scale"] == "2 cm per unit"
    torch.testing.assert_close(rig.neutral, 2 * tiny_rig.neutral)
    torch.testing.assert_close(rig.blendshapes[0], 2 * tiny_rig.blendshapes[-1], atol=1e-4, rtol=1e-4)
    (folder / "rest.obj").rename(folder / "calm.obj")
    assert_error(capsys, ["rig", "import", str(folder), "--out", str(out)], "--neutral", "calm.obj")
    assert FaceRig.load(out).num_shapes == 1


def import_shapes(
    rig: FaceRig, folder: Path, capsys: pytest.CaptureFixture[str], names: tuple[str, ...], scale: float = 1.0
) -> tuple[str, str]:
    """Import a folder of some of the rig's shapes under other names; what was said and what warned of."""
    folder.mkdir()
    write_obj(rig, scale * rig.neutral, folder / "Neutral.obj")
    for name, shape in zip(names, rig.blendshapes, strict=False):
        write_obj(rig, scale * (rig.neutral + shape), folder / f"{name}.obj")
    assert main(["rig", "import", str(folder), "--out", str(folder / "rig.safetensors")]) == 0
    return capsys.readouterr()


FACESHIFT = (
    "BrowsU_C_L",
    "BrowsU_C_R",
    "BrowsD_L",
    "BrowsD_R",
    "MouthSmile_L",
    "MouthSmile_R",
    "LipsPucker",
    "JawOpen",
)


def test_names_of_faceshift_find_the_same_muscles(
    tiny_rig: FaceRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, names in (("arkit", tiny_rig.names), ("faceshift", FACESHIFT)):
        said, warned = import_shapes(tiny_rig, tmp_path / folder, capsys, names)
        assert "muscles found: 8 of the 35 that ARKit's shapes can tell; the others need" in said
        assert warned == ""


def test_a_prefix_is_taken_off_with_a_note(
    tiny_rig: FaceRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = tuple(f"{n:02}_{name}" for n, name in enumerate(tiny_rig.names))
    said, warned = import_shapes(tiny_rig, tmp_path / "shapes", capsys, names)
    assert "muscles found: 8 of the 35 that ARKit's shapes can tell" in said
    assert warned.startswith("biomechau: note: renamed: browInnerUp_L for 00_browInnerUp_L, ")


@pytest.mark.parametrize(
    ("scale", "words"), [(0.01, "metres (--scale 100)"), (10, "millimetres (--scale 0.1)"), (1 / 2.54, "inches")]
)
def test_units_in_doubt(
    tiny_rig: FaceRig, tmp_path: Path, capsys: pytest.CaptureFixture[str], scale: float, words: str
) -> None:
    _, warned = import_shapes(tiny_rig, tmp_path / "shapes", capsys, tiny_rig.names, scale)
    assert f"the rig is {20 * scale:.4g} cm tall, where a human face is 15 to 25 cm" in warned
    assert words in warned


def test_names_that_say_nothing(tiny_rig: FaceRig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, warned = import_shapes(tiny_rig, tmp_path / "shapes", capsys, ("big", "small"))
    assert "muscles found: 0 of the 34 that ARKit's shapes can tell" in said
    assert "forces need a table of muscles with yours (--muscles)" in warned


def test_import_of_the_built_in_face(tmp_path: Path) -> None:
    assert main(["rig", "import", "builtin:1000", "--out", str(tmp_path / "rig.safetensors")]) == 0
    assert FaceRig.load(tmp_path / "rig.safetensors").num_vertices == 1000


@pytest.mark.slow
def test_import_of_an_ict_folder(ict_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "ict.safetensors"
    assert main(["rig", "import", str(ict_folder), "--out", str(out), "--no-identity"]) == 0
    said, warned = capsys.readouterr()
    assert said.startswith(f"{out}: 9,409 vertices, 55 shapes, 0 identity modes\n")
    assert said.endswith("muscles found: 35 of the 35 that ARKit's shapes can tell\n")
    assert warned == "biomechau: note: equal to the neutral and left out: PupilDilate_L, PupilDilate_R\n"


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


def test_a_table_of_muscles_to_edit_and_test(rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "a" / "muscles.csv"
    assert main(["rig", "muscles", "--out", str(table)]) == 0
    assert Muscles.load(table) == Muscles.facs()
    lines = table.read_text().splitlines()
    kept = [line for line in lines[1:] if line.startswith("zygomaticus_major")]
    table.write_text("\n".join([lines[0], *kept]) + "\n")
    capsys.readouterr()
    assert main(["rig", "info", rig_file, "--muscles", str(table), "--json"]) == 0
    muscles = json.loads(capsys.readouterr().out)["muscles"]
    assert muscles["found"] == ["zygomaticus_major_left", "zygomaticus_major_right"]


def test_leaks(rig_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    out = tmp_path / "new" / "leaks.png"
    assert main(["rig", "leaks", rig_file, "--edge-fraction", "0.15", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "frontalis medialis" in said
    assert said.endswith(f"wrote {out}\n")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert main(["rig", "leaks", rig_file, "--json"]) == 0
    described = json.loads(capsys.readouterr().out)
    assert described["file"] == rig_file
    assert len(described["slow"]["shares"]) == len(described["muscles"]) == 8
    assert described["fast"]["worst"]["share"] < 0.2
