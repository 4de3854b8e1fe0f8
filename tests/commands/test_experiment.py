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
from dataclasses import replace
from multiprocessing import active_children
from multiprocessing.connection import wait
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from commands.small import read_csv

from biomechau.cli import main
from biomechau.corpus import BP4D, DISFA, Corpus, CorpusSequence, CorpusWriter, Protocol
from biomechau.models import LossWeights
from biomechau.rig import FaceRig
from biomechau.training import Run, TrainingConfig, evaluate
from biomechau.training.experiments import TABLES, Setup, running
from biomechau.training.experiments._paper_tables import published_rows
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
    assert main(asked(corpus, out, "--rows", *ROWS)) == 0
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
    always = [e.scores.means.always_positive_f1 for e in found]
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
    assert card["command"] == " ".join(["biomechau", *asked(corpus, table1, "--rows", *ROWS)])
    assert any("computed from the coefficients" in note for note in card["notes"])


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="there is no kill -9 elsewhere")
def test_killed_in_the_middle_and_given_again(table1: Path, corpus: Corpus, tmp_path: Path) -> None:
    """What is done is kept, and the rest comes out as if nothing had happened."""
    code = "import sys; from biomechau.cli import main; sys.exit(main(sys.argv[1:]))"
    arguments = asked(corpus, tmp_path, "--rows", *ROWS)
    process = subprocess.Popen([sys.executable, "-I", "-c", code, *arguments], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    # Not the whole tree: folders that are being written come and go.
    runs = tmp_path / "table1" / "runs"
    while not (done := sorted(runs.glob("*/*/*/evaluation.json"))):
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


@pytest.mark.slow
def test_ctrl_c_ends_the_workers(table1: Path, corpus: Corpus, tmp_path: Path) -> None:
    """What two processes have found until then is what one finds."""
    setup = Setup((corpus,), TrainingConfig(epochs=1, accelerator="cpu"), rows=("position",))
    plan = Plan(TABLES["table1"](setup), setup, tmp_path)
    others = set(active_children())

    def stop(progress: running.Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        running.run_experiment(plan, 2, report=stop)
    # Not is_alive(): the pool waits for them too, and who comes second does not learn that they have ended.
    assert all(wait([child.sentinel], 10) for child in set(active_children()) - others)
    assert "1 of 3 runs" in (tmp_path / "table.md").read_text()
    (found,) = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert found in results(table1)


def test_a_process_for_each_gpu(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    plans = {}
    for accelerator in ("auto", "gpu", "cpu"):
        setup = Setup((corpus,), TrainingConfig(accelerator=accelerator))
        plans[accelerator] = Plan(TABLES["table1"](setup), setup, tmp_path)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(99)), raising=False)
    assert {name: running.usual_processes(plan) for name, plan in plans.items()} == {"auto": 2, "gpu": 2, "cpu": 15}
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [running.gpu_of(process, 2) for process in range(3)] == ["0", "1", "0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert [running.gpu_of(process, 2) for process in range(3)] == ["3", "5", "3"]
    assert running.gpu_of(0, 0) == ""


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
    given = asked(corpus, tmp_path, "--rows", "position", "--folds", "1", "3")
    assert main(given) == 130
    assert "the same command continues" in capsys.readouterr().err
    assert main(given) == 0
    assert [folder[-5:] for folder in trained] == ["fold3"]
    assert "2 runs, 1 of them finished" in capsys.readouterr().out
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
    fails(*asked(corpus, table1, "--neutral", "5"), words="another configuration: neutral None there, 5.0 now")
    fails(*asked(corpus, table1, "--fold-seed", "1"), words="another seed of the folds: 0 there, 1 now")
    fails(*asked(corpus, table1, "--fps", "30"), words="has 25 frames per second, not fps 30")
    fails(*asked(corpus, table1, "--seed", "1"), words="--seed: did you mean --seeds?")
    fails(*asked(corpus, table1, "--head", "force"), words="Unrecognized options: --head")
    fails(*asked(corpus, table1, "--label-share", "0.5", name="table4"), words="Unrecognized options: --label-share")
    fails(*asked(corpus, table1, jobs=0), words="jobs must be at least 1")
    fails(*asked(corpus, table1, name="table9"), words=("table9: expected one of table1", "did you mean"))
    fails(*asked(corpus, table1, "--other", "x"), words="Unrecognized options: --other")
    fails(*asked(corpus, table1, name="table5"), words="--other")
    assert (table1 / "table1" / "card.json").read_bytes() == before


def dataset(path: Path, rig: FaceRig, protocol: Protocol, source: str) -> Corpus:
    """All subjects of a data set with one short sequence each, of noise."""
    generator = torch.Generator().manual_seed(0)
    provenance = {"source": source}
    with CorpusWriter(path, rig, protocol.action_units, protocol.fps, provenance=provenance) as writer:
        for subject in sorted(set().union(*protocol.subject_sets.values())):
            labels = torch.randint(0, 2, (16, len(protocol.action_units)), generator=generator, dtype=torch.int8)
            c = torch.rand(16, rig.num_shapes, generator=generator)
            time, valid = torch.arange(16, dtype=torch.float64) / protocol.fps, torch.ones(16, dtype=torch.bool)
            writer.add(CorpusSequence(f"{subject}_T1", subject, "T1", c, labels, time, valid))
    return Corpus.open(path)


@pytest.mark.parametrize(("name", "protocol", "first"), [("table2", BP4D, "45.8"), ("table3", DISFA, "43.9")])
def test_beside_published_results(name: str, protocol: Protocol, first: str, corpus: Corpus, tmp_path: Path) -> None:
    noise = dataset(tmp_path / "corpus", corpus.rig, protocol, protocol.name)
    given = ["--rows", "position_temporal", "image", "--folds", "1", "--validation", "test"]
    assert main(asked(noise, tmp_path, *given, name=name)) == 0
    rows = {row["row"]: row for row in read_csv(tmp_path / name / "table.csv")}
    assert rows["ARL"]["AU1"] == first
    assert rows["3D position, temporal"]["runs"] == "1/1"
    assert 0 < float(rows["3D position, temporal"]["Avg."]) < 100
    assert rows["Biomechanics-guided"]["runs"] == rows["ARL"]["MCC"] == rows["2D image"]["Avg."] == ""
    card = json.loads((tmp_path / name / "card.json").read_text())
    assert card["data"][0]["subject_sets"] == f"{protocol.name}, as in the literature"
    assert "weights: epoch with the lowest loss on the test subjects" in card["notes"]
    assert "2D image: not trained, the corpus has no image features" in card["notes"]
    assert any(note.startswith("UGN-B: Song et al., AAAI 2021 (Table ") for note in card["notes"])


def test_published_results_stand_beside_their_own_corpus_alone(
    corpus: Corpus, tiny_rig: FaceRig, tmp_path: Path, fails: Callable[..., None]
) -> None:
    fails(*asked(corpus, tmp_path / "out", name="table2"), words=("BP4D", "41 subjects", "the corpus is from"))
    noise = dataset(tmp_path / "corpus", tiny_rig, BP4D, "a simulation with the same names")
    fails(*asked(noise, tmp_path / "out", name="table2"), words="the corpus is from 'a simulation with the same names'")
    disfa = dataset(tmp_path / "disfa", tiny_rig, DISFA, "DISFA")
    fails(*asked(disfa, tmp_path / "out", name="table2"), words="the corpus is from 'DISFA'")
    fails(
        *asked(disfa, tmp_path / "out", "--action-units", "1", name="table3"), words="needs the action units of DISFA"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("protocol", [BP4D, DISFA])
def test_published_averages_are_those_of_their_rows(protocol: Protocol) -> None:
    """Whatever is not the mean of its row, to what rounding explains, is marked."""
    rows, averages = published_rows(protocol)[:8], published_rows(protocol)[8:]
    assert rows[-1].method == "Biomechanics-guided"
    assert averages[-1].method == "FMAE-IAT (2025)"
    assert all(40 < row.average < 75 and not row.f1 and "average as in" in row.source for row in averages)
    for row in rows:
        assert tuple(row.f1) == protocol.action_units
        if abs(fmean(row.f1.values()) - row.average) > 0.1:
            assert "the mean of the row is 59.4" in row.note


def test_few_labels(corpus: Corpus, tmp_path: Path) -> None:
    rows = ["labels50_force_au", "labels50_force", "labels50_position"]
    assert main(asked(corpus, tmp_path, "--rows", *rows, "--seeds", "2", name="table4")) == 0
    runs = results(tmp_path, "table4")
    assert [(run["seed"], run["fold"]) for run in runs] == [(0, 1), (1, 2)] * 3
    alone = Run.open(tmp_path / "table4" / "runs" / rows[0] / "seed1" / "fold2").config
    assert (alone.label_share, alone.seed) == (0.5, 1)
    assert [name for name, weight in vars(alone.losses).items() if weight] == ["action_unit"]
    table = read_csv(tmp_path / "table4" / "table.csv")
    f1 = [run["mean_f1"] for run in runs]
    assert table[1]["gain"] == f"{50 * (f1[2] - f1[0] + f1[3] - f1[1]):+.1f}"
    assert [row["row"] for row in table][-2:] == ["50 %, position", "always on"]
    assert "one fold per seed: fold 1 for seed 0, fold 2 for seed 1" in (tmp_path / "table4" / "table.md").read_text()


def test_trained_on_one_corpus_and_tested_on_another(
    corpus: Corpus, tmp_path: Path, fails: Callable[..., None], tiny_rig: FaceRig
) -> None:
    """At another frame rate, with one action unit less."""
    units = corpus.action_units
    with CorpusWriter(tmp_path / "b", corpus.rig, units[:3], 50.0, muscles=corpus.muscles) as writer:
        for sequence in corpus:
            writer.add(replace(sequence, labels=sequence.labels[:, :3], timestamp=sequence.timestamp / 2))
    options = ["--other", str(tmp_path / "b"), "--seeds", "1", "--rows", "1to2_position", "2to1_physics"]
    options += ["--neutral", "5", "--losses.reconstruction", "2", "--law", "newton", "--scheme", "explicit"]
    assert main(asked(corpus, tmp_path, *options, name="table5")) == 0
    there, back = results(tmp_path, "table5")
    assert [unit["action_unit"] for unit in there["action_units"]] == list(units[:3])
    assert (there["protocol"]["resampled_from_fps"], back["protocol"]["fps"]) == (50.0, 50.0)
    assert there["protocol"]["subjects"] == list(corpus.subjects)
    config = Run.open(tmp_path / "table5" / "runs" / "2to1_physics" / "seed0" / "fold1").config
    assert (config.neutral, config.losses.reconstruction, config.detector.physics.law) == (5, 2, "newton")
    table = read_csv(tmp_path / "table5" / "table.csv")
    for row, run in zip(table, (there, back), strict=False):
        assert (row["best F1"], row["AUC"]) == (f"{100 * run['mean_best_f1']:.1f}", f"{100 * run['mean_auc']:.1f}")
        assert run["mean_best_f1"] >= run["mean_f1"]
    heads = [row["row"] for row in table]
    name = corpus.path.name
    assert heads == [
        f"{name} to b: position",
        f"b to {name}: physics",
        f"{name} to b: always on",
        f"b to {name}: always on",
    ]
    other = dataset(tmp_path / "disfa", tiny_rig, DISFA, "DISFA")
    fails(*asked(corpus, tmp_path / "c", "--other", str(other.path), name="table5"), words="have different rigs")


def test_the_ablation_changes_one_thing_at_a_time(corpus: Corpus, tmp_path: Path) -> None:
    setup = Setup((corpus,), TrainingConfig(epochs=1))
    plan = Plan(TABLES["ablation"](setup), setup, tmp_path)
    names = [row.name for row in plan.rows]
    assert {f"no_{name}_loss" for name, weight in vars(LossWeights()).items() if weight} < set(names)
    assert {"law_newton", "force_vector", "mass_region", "mass_spd", "context_0", "context_8"} < set(names)
    assert not {"law_elastic", "context_4"} & set(names)
    default = plan.config(plan.rows[0])
    assert len({json.dumps(plan.config(row).to_json()) for row in plan.rows}) == len(names)
    assert {row.against for row in plan.rows[1:]} == {"default"}
    assert default.detector.action_units == corpus.action_units
    setup = Setup((corpus,), TrainingConfig.paper())
    paper = Plan(TABLES["ablation"](setup), setup, tmp_path)
    law = next(paper.config(row) for row in paper.rows if row.name == "law_elastic").detector.physics
    assert (law.law, law.scheme, law.force) == ("elastic", "implicit", "vector")
    assert not {"no_slack", "no_slack_loss", "law_newton"} & {row.name for row in paper.rows}


@pytest.mark.slow
def test_every_ablation_can_be_trained(corpus: Corpus, tmp_path: Path) -> None:
    rows = ["default", "no_reconstruction_loss", "no_slack", "law_newton", "force_vector", "mass_spd"]
    assert main(asked(corpus, tmp_path, "--rows", *rows, "--folds", "1", "--seeds", "2", name="ablation")) == 0
    table = {row["row"]: row for row in read_csv(tmp_path / "ablation" / "table.csv")}
    assert {row["runs"] for row in table.values()} == {"2/2", ""}
    found = {(run["row"], run["seed"]): run["mean_f1"] for run in results(tmp_path, "ablation")}
    gains = [found["no_slack", seed] - found["default", seed] for seed in (0, 1)]
    assert table["without slack"]["gain"] == f"{100 * fmean(gains):+.1f}"
    assert table["without slack"]["gain sd"] == f"{100 * abs(gains[0] - gains[1]) / 2**0.5:.1f}"
    assert table["default"]["gain"] == ""
