"""``biomechau experiment``: what it trains and writes, how it goes on after a stop, and how it fails."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
from commands.small import read_csv

from biomechau.cli import main
from biomechau.corpus import Corpus
from biomechau.models import LossWeights
from biomechau.training import Run, TrainingConfig, evaluate
from biomechau.training.experiments import TABLES, Setup, running
from biomechau.training.experiments.plan import Plan

ROWS = ("position", "physics")
SHORT = ["--epochs", "1", "--accelerator", "cpu"]


def asked(corpus: Corpus, out: Path, *options: str, name: str = "table1", jobs: int = 1) -> list[str]:
    given = ["experiment", name, "--corpus", str(corpus.path), "--out", str(out), *SHORT, "--jobs", str(jobs)]
    return [*given, *options]


def results(out: Path, name: str = "table1") -> list[dict[str, Any]]:
    return json.loads((out / name / "results.json").read_text())["runs"]


@pytest.fixture(scope="module")
def table1(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two rows of Table 1 with all folds."""
    out = tmp_path_factory.mktemp("experiments")
    assert main(asked(corpus, out, "--rows", ",".join(ROWS))) == 0
    return out


def test_the_numbers_are_those_of_the_evaluations(table1: Path, corpus: Corpus) -> None:
    rows = {row["row"]: row for row in read_csv(table1 / "table1" / "table.csv")}
    assert list(rows) == ["3D position", "3D physics", "always on"]
    for name, heading in zip(ROWS, rows, strict=False):
        folders = [table1 / "table1" / "runs" / name / "seed0" / f"fold{k}" for k in (1, 2, 3)]
        found = [evaluate(folder, corpus) for folder in folders]
        f1 = {unit: fmean(e.scores.units[i].f1 or 0 for e in found) for i, unit in enumerate(corpus.action_units)}
        assert {unit: rows[heading][f"AU{unit}"] for unit in f1} == {unit: f"{100 * v:.1f}" for unit, v in f1.items()}
        assert rows[heading]["Avg."] == f"{100 * fmean(f1.values()):.1f}"
        assert rows[heading]["folds"] == " / ".join(f"{100 * (e.scores.mean_f1 or 0):.1f}" for e in found)
        assert rows[heading]["runs"] == "3/3"
        for column, values in (("force r", [e.forces and e.forces.median for e in found]),):
            assert rows[heading][column] == ("" if None in values else f"{fmean(values):.2f}")  # type: ignore[arg-type]
    always = [e.scores.mean_always_positive_f1 for e in found]
    assert rows["always on"]["folds"] == " / ".join(f"{100 * f1:.1f}" for f1 in always if f1 is not None)


def test_the_three_spellings_agree(table1: Path) -> None:
    with (table1 / "table1" / "table.csv").open(newline="") as file:
        cells = list(csv.reader(file))
    lines = (table1 / "table1" / "table.md").read_text().splitlines()
    markdown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    assert [markdown[0], *markdown[2:]] == cells
    latex = (table1 / "table1" / "table.tex").read_text()
    body = re.findall(r"^(.*) \\\\$", latex, re.MULTILINE)
    assert [[cell.strip() for cell in line.split(" & ")] for line in body] == cells
    assert latex.count("{") == latex.count("}")
    assert "6 of 6 runs" in latex
    assert "6 of 6 runs" in lines[0]


def test_the_card_says_what_was_done(table1: Path, corpus: Corpus) -> None:
    card = json.loads((table1 / "table1" / "card.json").read_text())
    assert (card["experiment"], card["setting"], card["runs"]) == ("table1", "ours", "6 of 6")
    assert (card["seeds"], card["folds_of_seeds"]) == ([0], {"0": [1, 2, 3]})
    assert card["data"][0]["provenance"] == corpus.provenance
    tested = [subject for fold in card["data"][0]["folds"].values() for subject in fold["test"]]
    assert sorted(tested) == sorted(corpus.subjects)
    assert card["command"] == " ".join(["biomechau", *asked(corpus, table1, "--rows", *ROWS)]).replace(
        "--epochs 1 --accelerator cpu --jobs 1 --rows position physics",
        "--rows position,physics --epochs 1 --accelerator cpu --jobs 1",
    )
    assert any("exactly linear in the coefficients" in note for note in card["notes"])


@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9 elsewhere")
def test_killed_in_the_middle_and_given_again(table1: Path, corpus: Corpus, tmp_path: Path) -> None:
    """What is done is kept, and the rest comes out as if nothing had happened."""
    code = "import sys; from biomechau.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = asked(corpus, tmp_path, "--rows", ",".join(ROWS))
    process = subprocess.Popen([sys.executable, "-I", "-c", code, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while not (done := sorted(tmp_path.rglob("evaluation.json"))):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.kill()
    process.wait()
    partial = (tmp_path / "table1" / "table.md").read_text()
    assert " of 6 runs" in partial
    assert "partial: " in partial
    before = {path: path.stat().st_mtime_ns for path in done}
    assert main(asked(corpus, tmp_path, "--rows", *ROWS)) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == before
    assert results(tmp_path) == results(table1)
    assert (tmp_path / "table1" / "table.csv").read_bytes() == (table1 / "table1" / "table.csv").read_bytes()


def test_ctrl_c_ends_the_workers(table1: Path, corpus: Corpus, tmp_path: Path) -> None:
    """What two processes have found until then is what one finds."""
    setup = Setup((corpus,), TrainingConfig(epochs=1, accelerator="cpu"), rows=("position",))
    plan = Plan(TABLES["table1"](setup), setup, tmp_path)
    others = set(active_children())

    def stop(progress: running.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run_experiment(plan, 2, report=stop)
    for child in set(active_children()) - others:
        child.join(10)
        assert not child.is_alive()
    assert "1 of 3 runs" in (tmp_path / "table.md").read_text()
    (found,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert found in results(table1)


def test_only_what_is_missing_is_trained(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trained: list[str] = []
    train = running.train

    def counted(*arguments: Any, **options: Any) -> Run:
        if len(trained) == 1:
            trained.clear()
            raise KeyboardInterrupt
        trained.append(str(arguments[3]))
        return train(*arguments, **options)

    monkeypatch.setattr(running, "train", counted)
    given = asked(corpus, tmp_path, "--rows", "position", "--folds", "1,3")
    assert main(given) == 130
    assert "the same command goes on where it was" in capsys.readouterr().err
    assert main(given) == 0
    assert [folder[-5:] for folder in trained] == ["fold3"]
    assert "2 runs, 1 of them done" in capsys.readouterr().out
    assert [run["fold"] for run in results(tmp_path)] == [1, 3]


def test_a_failing_row_does_not_lose_the_others(
    corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: Callable[..., None]
) -> None:
    train = running.train

    def failing(corpus: Corpus, fold: Any, config: TrainingConfig, *arguments: Any, **options: Any) -> Run:
        if config.detector.head == "position":
            raise RuntimeError("out of luck")
        return train(corpus, fold, config, *arguments, **options)

    monkeypatch.setattr(running, "train", failing)
    words = ("1 of 2 runs failed: position, seed 0, fold 2: RuntimeError: out of luck",)
    fails(*asked(corpus, tmp_path, "--rows", *ROWS, "--folds", "2"), words=words)
    rows = {row["row"]: row["runs"] for row in read_csv(tmp_path / "table1" / "table.csv")}
    assert rows == {"3D position": "0/1", "3D physics": "1/1", "always on": ""}
    assert "- failed: position, seed 0, fold 2" in (tmp_path / "table1" / "table.md").read_text()


def test_what_does_not_belong_together(table1: Path, corpus: Corpus, fails: Callable[..., None]) -> None:
    before = (table1 / "table1" / "card.json").read_bytes()
    fails(*asked(corpus, table1, "--epochs", "2"), words=("another configuration: epochs 1 there, 2 now", "--out"))
    fails(*asked(corpus, table1, "--setting", "paper"), words="another setting: 'ours' there, 'paper' now")
    fails(*asked(corpus, table1, "--action-units", "6", "12"), words="another choice of action units")
    fails(*asked(corpus, table1, "--validation", "test"), words="another choice of validation subjects")
    fails(*asked(corpus, table1, "--folds", "4"), words="folds must lie in [1, 3], got 4")
    fails(*asked(corpus, table1, "--rows", "phisics"), words=("no row 'phisics'", "geometry, force, position"))
    fails(*asked(corpus, table1, "--seeds", "0"), words="seeds must be at least 1")
    fails(*asked(corpus, table1, jobs=0), words="jobs must be at least 1")
    fails(*asked(corpus, table1, name="table9"), words=("NAME must be one of", "table5", "'table9'"))
    fails(*asked(corpus, table1, "--other", "x"), words="--other is for table5")
    fails(*asked(corpus, table1, name="table5"), words="--other")
    assert (table1 / "table1" / "card.json").read_bytes() == before


def test_the_ablation_changes_one_thing_at_a_time(corpus: Corpus, tmp_path: Path) -> None:
    setup = Setup((corpus,), TrainingConfig(epochs=1))
    plan = Plan(TABLES["ablation"](setup), setup, tmp_path)
    names = [row.name for row in plan.rows]
    assert {f"no_{name}_loss" for name in vars(LossWeights())} < set(names)
    assert {"law_newton", "force_vector", "mass_region", "mass_spd", "context_0", "context_8"} < set(names)
    assert not {"law_elastic", "context_4"} & set(names)
    default = plan.config(plan.rows[0])
    assert len({json.dumps(plan.config(row).to_json()) for row in plan.rows}) == len(names)
    assert {row.against for row in plan.rows[1:]} == {"default"}
    assert default.detector.action_units == corpus.action_units


def test_every_ablation_can_be_trained(corpus: Corpus, tmp_path: Path) -> None:
    rows = "default,no_reconstruction_loss,no_slack,law_newton,force_vector,mass_spd"
    assert main(asked(corpus, tmp_path, "--rows", rows, "--folds", "1", "--seeds", "2", name="ablation")) == 0
    table = {row["row"]: row for row in read_csv(tmp_path / "ablation" / "table.csv")}
    assert {row["runs"] for row in table.values()} == {"2/2", ""}
    found = {(run["row"], run["seed"]): run["mean_f1"] for run in results(tmp_path, "ablation")}
    gains = [found["no_slack", seed] - found["default", seed] for seed in (0, 1)]
    assert table["without slack"]["gain"] == f"{100 * fmean(gains):+.1f}"
    assert table["without slack"]["gain sd"] == f"{100 * abs(gains[0] - gains[1]) / 2**0.5:.1f}"
    assert table["default"]["gain"] == ""
