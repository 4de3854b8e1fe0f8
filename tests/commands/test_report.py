"""``biomechau report``: the page of a run and of each kind of folder, what it says, and how it plays in a browser."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from commands.pages import Page
from commands.small import UNITS

from biomechau.analysis import Ensemble, Prediction, choose, predictions
from biomechau.analysis.sequence_choice import fit_to_test
from biomechau.cli import main
from biomechau.commands import report
from biomechau.corpus import Corpus
from biomechau.training import cross_validate, open_runs

pytest.importorskip("pyvista")
pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def run_page(run_folder: Path, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "run.html"
    assert main(["report", str(run_folder), "--corpus", str(corpus.path), "--out", str(path), "--quiet"]) == 0
    return path


def test_the_page_is_self_contained(run_page: Path) -> None:
    page = Page(run_page)
    assert page.reaching == []
    assert page.source.replace("http://www.w3.org/2000/svg", "").count("http") == 1  # http-equiv
    assert "default-src 'none'" in page.source
    for word in ("fetch(", "import(", "XMLHttpRequest", "url(", "@import", "WebSocket"):
        assert word not in page.source


def test_the_page_holds_what_the_run_says(run_page: Path, run_folder: Path, corpus: Corpus) -> None:
    page, runs = Page(run_page), open_runs(run_folder)
    scores = cross_validate(runs, corpus)
    assert f"mean F1 {100 * (scores.scores.mean_f1 or 0):.1f} %" in " ".join(page.text)
    for unit in scores.scores.units:
        at = page.text.index(f"AU{unit.action_unit:02d}")
        assert page.text[at + 2 : at + 4] == [f"{100 * (unit.f1 or 0):.1f}", f"{100 * (unit.mcc or 0):.1f}"]
    names = [sequence["name"] for sequence in page.data["sequences"]]
    assert names == [choice.id for choice in choose(runs, corpus)]
    assert len(page.data["scenes"]) == 1
    for number, prediction in enumerate(predictions(runs, corpus, names[:1])):
        np.testing.assert_allclose(page.array(number, "probabilities"), prediction.probabilities.ravel(), rtol=1e-6)
        np.testing.assert_allclose(page.array(number, "strength"), prediction.face.strength.ravel(), rtol=1e-6)
        np.testing.assert_array_equal(page.array(number, "labels"), corpus[names[0]].labels.numpy().ravel())
        assert prediction.residual is not None
        np.testing.assert_allclose(page.array(number, "residual"), prediction.residual, rtol=1e-6)
        index = {m["name"].replace(" ", "_"): m["ratio_of_sums"] for m in page.data["sequences"][0]["muscles"]}
        for muscle, value in prediction.summary()["ratio_of_sums"].items():
            assert index[muscle] == (None if value is None else pytest.approx(value))


def test_best_median_and_worst_are_chosen_by_f1(run_folder: Path, corpus: Corpus) -> None:
    runs = open_runs(run_folder)
    able = fit_to_test(Ensemble.of(runs), corpus)
    assert sorted(able) == sorted(corpus.ids)
    for id, (fold,) in able.items():
        assert id[:4] in runs[fold].fold.test
    f1 = {}
    for prediction in predictions(runs, corpus, corpus.ids):
        found = prediction.scores()
        if found is not None and found["mean_f1"] is not None:
            f1[prediction.sequence.name] = found["mean_f1"]
    best, median, worst = choose(runs, corpus)
    assert [best.rank, median.rank, worst.rank] == ["best", "median", "worst"]
    assert best.value == f1[best.id] == max(f1.values())
    assert worst.value == f1[worst.id] == min(f1.values())
    assert median.value == f1[median.id] == sorted(f1.values(), reverse=True)[(len(f1) - 1) // 2]


def test_without_labels_the_residual_chooses(run_folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Prediction, "scores", lambda _: None)
    runs = open_runs(run_folder)
    best, median, worst = choose(runs, corpus)
    assert {best.measure, median.measure, worst.measure} == {"residual of the sequence"}
    residual = {}
    for prediction in predictions(runs, corpus, corpus.ids):
        assert prediction.residual is not None
        residual[prediction.sequence.name] = float(prediction.residual.mean())
    assert best.id == min(residual, key=lambda id: residual[id])
    assert worst.value == pytest.approx(max(residual.values()))
    assert str(worst) == f"worst, {residual[worst.id]:.2f} mm"


def test_the_page_plays_in_a_browser(run_page: Path) -> None:
    with opened(run_page) as (page, console, requests):
        page.wait_for_selector("#player[data-ready]")
        frames = int(page.get_attribute("#time", "max")) + 1
        states = []
        for frame in (0, frames // 2):
            page.locator("#time").fill(str(frame))
            states.append(_state(page))
        first, second = states
        assert page.locator("#clock").inner_text() == f"{second['time']:.2f} s"
        assert second["cursor"] > first["cursor"]
        assert first["drawn"] > 2000
        assert second["pixels"] != first["pixels"]
        assert second["reading"] != first["reading"]
        # Dragging turns the face, the next sequence replaces the curves, and playing moves on.
        box = page.locator("#face").bounding_box()
        page.mouse.move(box["x"] + 100, box["y"] + 100)
        page.mouse.down()
        page.mouse.move(box["x"] + 160, box["y"] + 100)
        page.mouse.up()
        turned = _state(page)
        assert turned["pixels"] != second["pixels"]
        page.get_by_role("radio").nth(1).check()
        assert page.locator(".chart .row:not(.axis) .plot svg").count() >= len(UNITS) + 3
        page.locator("#time").fill("0")
        page.get_by_role("button", name="Play").click()
        # Not wait_for_function, which evaluates text and so is against the page's policy.
        page.evaluate("() => new Promise((done) => setInterval(() => biomechau.frame > 2 && done(), 20))")
        page.get_by_role("button", name="Pause").click()
        # A click into a curve goes to its time.
        page.locator(".plot").first.click(position={"x": 2, "y": 10})
        assert page.evaluate("biomechau.frame") == 0
        assert [text for text in console if "GL Driver Message" not in text] == []
        assert requests == [run_page.as_uri()]


def _state(page: Any) -> dict[str, Any]:
    """Where the cursor is, what the first row says, and a digest of what is drawn of the face."""
    return page.evaluate(
        """() => {
            const face = biomechau.face, gl = face.gl;
            face.draw();
            const pixels = new Uint8Array(4 * gl.drawingBufferWidth * gl.drawingBufferHeight);
            gl.readPixels(0, 0, gl.drawingBufferWidth, gl.drawingBufferHeight, gl.RGBA, gl.UNSIGNED_BYTE, pixels);
            let digest = 0, drawn = 0;
            for (let i = 0; i < pixels.length; i += 4) {
                digest = (digest * 31 + pixels[i] + 3 * pixels[i + 1] + 7 * pixels[i + 2]) % 2147483647;
                drawn += pixels[i + 3] > 0;
            }
            const cursor = document.querySelector(".cursor");
            return {
                time: biomechau.sequence.timestamp[biomechau.frame],
                cursor: new DOMMatrix(getComputedStyle(cursor).transform).e,
                reading: document.querySelector(".row output").textContent,
                pixels: digest,
                drawn,
            };
        }"""
    )


def test_chosen_sequences_and_scores_that_are_there(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    runs = open_runs(run_folder)
    summary = cross_validate(runs, corpus).summary()
    summary["mean_f1"] = 0.123
    (run_folder / "evaluation.json").write_text(json.dumps(summary))
    given = ["report", str(run_folder), "--corpus", str(corpus.path), "--out", str(tmp_path / "a.html"), "--quiet"]
    try:
        assert main([*given, "--sequence", "S003_T2", "S001_T1"]) == 0
    finally:
        (run_folder / "evaluation.json").unlink()
    page = Page(tmp_path / "a.html")
    assert [sequence["name"] for sequence in page.data["sequences"]] == ["S003_T2", "S001_T1"]
    assert page.data["sequences"][0]["note"].startswith("as requested, fold ")
    assert "mean F1 12.3 %" in " ".join(page.text)


def test_the_page_of_a_prediction(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    out, page = tmp_path / "prediction", tmp_path / "a.html"
    given = [str(corpus.path), "--sequence", "S003_T2", "--run", str(run_folder), "--fold", "1"]
    assert main(["predict", *given, "--out", str(out)]) == 0
    assert main(["report", str(out), "--out", str(page)]) == 0
    shown = Page(page)
    assert "S003_T2: action units and muscle forces" in shown.text
    found = shown.array(0, "probabilities").reshape(-1, len(UNITS))
    table = np.genfromtxt(out / "action_units.csv", delimiter=",", names=True)
    written = np.stack([table[unit["number"]] for unit in shown.data["sequences"][0]["action_units"]], 1)
    np.testing.assert_allclose(found, written, atol=1e-5)
    sides = shown.array(0, "side_probabilities").reshape(len(found), len(UNITS), 2)
    left = np.stack([table[f"{unit['number']}_left"] for unit in shown.data["sequences"][0]["action_units"]], 1)
    np.testing.assert_allclose(sides[..., 0], left, atol=1e-5)


def test_the_page_of_scores(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    assert main(["evaluate", "--run", str(run_folder), "--corpus", str(corpus.path), "--out", str(out)]) == 0
    assert main(["report", str(out), "--out", str(tmp_path / "a.html")]) == 0
    page = Page(tmp_path / "a.html")
    assert "Protocol of fold 3" in page.text
    assert page.data == {}
    (out / "evaluation.json").write_text("{}")
    assert main(["report", str(out), "--out", str(tmp_path / "b.html")]) == 2
    assert not (tmp_path / "b.html").exists()


def test_the_page_of_experiments_escapes_what_it_shows(tmp_path: Path) -> None:
    folder = tmp_path / "all" / "table1"
    folder.mkdir(parents=True)
    (folder / "table.csv").write_text("row,Avg.\n<b>physics</b>,68.2\n")
    (folder / "card.json").write_text(json.dumps({"title": "A & B", "seeds": [0, 1], "notes": ["x < y"]}))
    for given in (folder, folder.parent):
        assert main(["report", str(given), "--out", str(tmp_path / "a.html")]) == 0
        page = Page(tmp_path / "a.html")
        assert {"table1: A & B", "<b>physics</b>", "68.2", "x < y", "0, 1"} <= set(page.text)
        assert "<b>physics" not in page.source


def test_wide_tables_scroll_within_their_box(tmp_path: Path) -> None:
    units = {f"AU{unit:02}": "50.0" for unit in range(1, 16)}
    cells = {
        "row": "first corpus: 3D physics",
        "runs": "3/3",
        **units,
        "folds": "48.1 / 51.2 / 50.7",
        "force r": "0.50",
    }
    (tmp_path / "table.csv").write_text(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    (tmp_path / "card.json").write_text(json.dumps({"notes": ["words " * 60], "corpora": {"x" * 300: "y" * 300}}))
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "a.html")]) == 0
    with opened(tmp_path / "a.html") as (page, _, _):
        for details in page.locator("summary").all():
            details.click()
        for width in (1280, 800, 400):
            page.set_viewport_size({"width": width, "height": 800})
            assert page.evaluate("() => document.documentElement.scrollWidth") == width
            inner, outer = page.locator(".scroll").evaluate("box => [box.scrollWidth, box.clientWidth]")
            assert (inner > outer) == (width < 1280)


def test_what_cannot_be_reported(run_folder: Path, corpus: Corpus, tmp_path: Path, fails: Callable[..., None]) -> None:
    out = ["--out", tmp_path / "a.html"]
    fails("report", tmp_path / "nowhere", *out, words="no such folder")
    fails("report", tmp_path, *out, words=("holds nothing to report", "replay.safetensors", "card.json"))
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.csv").write_text("recording\n")
    fails("report", tmp_path / "study", *out, words=("is a study, whose pages are there: open", "index.html"))
    fails("report", tmp_path, "--corpus", corpus.path, *out, words="is not a run")
    fails("report", run_folder, *out, words=("is a run", "--corpus"))
    given = ["report", run_folder, "--corpus", corpus.path]
    fails(*given, "--sequence", "S099", *out, words=("no sequence 'S099'", "S001_T1"))
    fails(*given, "--sequence", "S001_T1", "--out", tmp_path / "no" / "a.html", words="there is no folder")
    (tmp_path / "table.csv").write_text("row,Avg.\nphysics\n")
    (tmp_path / "card.json").write_text("{}")
    fails("report", tmp_path, *out, words=("table.csv", "as many cells"))
    (tmp_path / "card.json").write_text("[]")
    fails("report", tmp_path, *out, words=("card.json", "expected a JSON object, found []"))
    assert not (tmp_path / "a.html").exists()


def test_without_the_viz_extra(run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Any) -> None:
    monkeypatch.setattr("biomechau.reports.figures.viz_available", lambda: False)
    fails("report", run_folder, "--out", tmp_path / "a.html", words='pip install "biomechau[viz]"')


@pytest.mark.slow
def test_a_page_that_would_be_too_large_offers_a_thinner_one(
    run_folder: Path, corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]
) -> None:
    arguments = ["predict", str(corpus.path), "--sequence", corpus.ids[0], "--run", str(run_folder)]
    assert main([*arguments, "--out", str(tmp_path / "p")]) == 0
    page = tmp_path / "page.html"
    report_arguments = ["report", str(tmp_path / "p"), "--out", str(page)]
    assert main(report_arguments) == 0
    whole = page.stat().st_size
    page.unlink()
    monkeypatch.setattr(report, "_LARGEST_PAGE", whole - 1)
    fails(*report_arguments, words=("the page would be", "--every 2 shows one of 2 frames, --every 1 all of them"))
    assert not page.exists()
    assert main([*report_arguments, "--every", "2"]) == 0
    assert len(Page(page).array(0, "timestamp")) == 24
    assert page.stat().st_size < whole
    assert main([*report_arguments, "--every", "1"]) == 0
    assert page.stat().st_size == whole
    fails(*report_arguments, "--every", "0", words="--every must be at least 1")
