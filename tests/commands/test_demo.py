"""``biomechau demo``: what it writes with and without its parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from browser import opened
from commands.pages import Page

from biomechau.cli import main
from biomechau.commands import demo


@pytest.mark.slow
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    assert main(["demo", "--out", str(tmp_path), "--num-vertices", "1000", "--seed", "3", "--no-training"]) == 0
    out = capsys.readouterr().out
    assert "median of active muscles" in out
    assert out.endswith(f"open {tmp_path / 'report.html'} in a browser\n")
    names = ["demo.png", "forces.csv", "forces.png", "replay.safetensors", "report.html", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert image.imread(tmp_path / "demo.png").std() > 0.05
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["recovery"]["median_correlation"] > 0.95
    page = Page(tmp_path / "report.html")
    assert page.reaching == []
    assert [sequence["name"] for sequence in page.data["sequences"]] == ["demo"]
    at = page.text.index("median of active muscles")
    assert page.text[at + 1] == f"{summary['recovery']['median_correlation']:.3f}"
    assert "Scores" not in page.text
    with opened(tmp_path / "report.html") as (shown, console, requests):
        shown.wait_for_selector("#player[data-ready]")
        assert [text for text in console if "GL Driver Message" not in text] == []
        assert requests == [(tmp_path / "report.html").as_uri()]


@pytest.mark.usefixtures("no_viz")
def test_demo_without_viz(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--out", str(tmp_path), "--num-vertices", "1000", "--no-training"]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forces.csv", "replay.safetensors", "summary.json"]
    assert capsys.readouterr().err == (
        'biomechau: note: pictures need pyvista and matplotlib: pip install "biomechau[viz]"\n'
    )


@pytest.mark.slow
def test_the_demo_ends_with_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyvista")
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(demo, "SIMULATION", replace(demo.SIMULATION, frames=64, coarse_vertices=100))
    monkeypatch.setattr(demo, "EPOCHS", 1)
    arguments = ["demo", "--out", str(tmp_path), "--num-vertices", "1000"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "AU24" in out
    assert "3 folds tested on their own test subjects: 5 / 5 / 5 subjects" in out
    assert {"corpus", "run", "scores", "report.html"} <= {path.name for path in tmp_path.iterdir()}
    page, scores = Page(tmp_path / "report.html"), json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert f"mean F1 {100 * scores['mean_f1']:.1f} %" in " ".join(page.text)
    assert {"Recovery of known muscle forces", "Scores", "AU24", "Protocol of fold 3"} <= set(page.text)
    first, *others = page.data["sequences"]
    assert (first["name"], first["action_units"]) == ("demo", [])
    assert [other["note"].split(",")[0] for other in others] == ["best", "median", "worst"]
    assert all(len(other["action_units"]) == 12 for other in others)
    # Once more replaces what the first left; whatever else lies there is kept, and named.
    (tmp_path / "run" / "fold2" / "notes.txt").write_text("mine")
    held = sorted(tmp_path.rglob("*"))
    assert main(arguments) == 2
    assert f"{tmp_path / 'run' / 'fold2' / 'notes.txt'} is in the way" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == held
    (tmp_path / "run" / "fold2" / "notes.txt").unlink()
    assert [folder.name for folder in demo.check_earlier(tmp_path)] == ["fold1", "fold2", "fold3"]
    # A run with other options, or another corpus, is no earlier demo's.
    monkeypatch.setattr(demo, "EPOCHS", 2)
    with pytest.raises(FileExistsError, match="fold1 is in the way"):
        demo.check_earlier(tmp_path)
    monkeypatch.setattr(demo, "SIMULATION", replace(demo.SIMULATION, seed=9))
    with pytest.raises(FileExistsError, match="corpus is in the way"):
        demo.check_earlier(tmp_path)


@pytest.mark.parametrize("name", ["corpus", "run", "run/fold1"])
def test_the_demo_replaces_nothing_that_it_did_not_write(tmp_path: Path, name: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    assert main(["demo", "--out", str(tmp_path), "--num-vertices", "1000"]) == 2
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / name]
