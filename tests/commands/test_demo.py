"""``biomechau demo``: what it writes with and without its parts."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from browser import opened
from commands.pages import Page

from biomechau.cli import main
from biomechau.commands.demo import SIMULATION, learn


@pytest.mark.slow
def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    assert main(["demo", "--out", str(tmp_path), "--num-vertices", "1000", "--seed", "3", "--no-training"]) == 0
    out = capsys.readouterr().out
    assert "median of muscles that act" in out
    assert out.endswith(f"open {tmp_path / 'report.html'} in a browser\n")
    names = ["demo.png", "forces.csv", "forces.png", "replay.safetensors", "report.html", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert image.imread(tmp_path / "demo.png").std() > 0.05
    summary = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert summary["recovery"]["median_correlation"] > 0.95
    page = Page(tmp_path / "report.html")
    assert page.reaching == []
    assert [sequence["name"] for sequence in page.data["sequences"]] == ["demo"]
    at = page.text.index("median of muscles that act")
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
    small = replace(SIMULATION, frames=64, coarse_vertices=100)
    monkeypatch.setattr("biomechau.commands.demo.learn", partial(learn, simulation=small, epochs=1))
    arguments = ["demo", "--out", str(tmp_path), "--num-vertices", "1000"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "AU24" in out
    assert "3 fold(s) tested on their own test subjects: 5 / 5 / 5 subjects" in out
    assert {"corpus", "run", "scores", "report.html"} <= {path.name for path in tmp_path.iterdir()}
    page, scores = Page(tmp_path / "report.html"), json.loads((tmp_path / "scores" / "evaluation.json").read_text())
    assert f"mean F1 {100 * scores['mean_f1']:.1f} %" in " ".join(page.text)
    assert {"Recovery of known muscle forces", "Scores", "AU24", "Protocol of fold 3"} <= set(page.text)
    demo, *others = page.data["sequences"]
    assert (demo["name"], demo["action_units"]) == ("demo", [])
    assert [other["note"].split(",")[0] for other in others] == ["best", "median", "worst"]
    assert all(len(other["action_units"]) == 12 for other in others)
    # Once more replaces what the first left, and nothing else.
    (tmp_path / "run" / "mine").write_text("")
    for fold in (1, 2, 3):
        (tmp_path / "run" / f"fold{fold}" / "config.json").unlink()
    assert main(arguments) == 2
    assert "run is in the way" in capsys.readouterr().err
    assert (tmp_path / "run" / "mine").exists()
