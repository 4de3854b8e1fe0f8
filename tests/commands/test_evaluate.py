"""``biomechau evaluate``: the means of its tables, and how it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from commands.small import SMALL, UNITS, read_csv

from biomechau.cli import main
from biomechau.corpus import Corpus, CorpusWriter
from biomechau.rig import FaceRig
from biomechau.training import open_runs


@pytest.fixture(scope="module")
def scores(run_folder: Path, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scores") / "out"
    assert main(["evaluate", "--run", str(run_folder), "--corpus", str(corpus.path), "--out", str(out)]) == 0
    return out


def test_f1_is_first_of_a_fold_and_then_the_mean(run_folder: Path, corpus: Corpus, scores: Path) -> None:
    rows = read_csv(scores / "action_unit_scores.csv")
    assert [row["fold"] for row in rows] == [fold for fold in ("1", "2", "3", "mean") for _ in UNITS]
    summary = json.loads((scores / "evaluation.json").read_text())
    means = []
    for unit in UNITS:
        of_unit = {row["fold"]: row for row in rows if row["action_unit"] == unit}
        known = [float(of_unit[fold]["f1"]) for fold in "123" if of_unit[fold]["f1"]]
        means.append(sum(known) / len(known))
        assert float(of_unit["mean"]["f1"]) == pytest.approx(means[-1])
        assert int(of_unit["mean"]["known_frames"]) == sum(int(of_unit[fold]["known_frames"]) for fold in "123") == 576
    assert summary["mean_f1"] == pytest.approx(sum(means) / 4)
    assert summary["tested_on"] == "the test subjects of each fold"
    for number, run in open_runs(run_folder).items():
        fold = summary["folds"][str(number)]
        assert fold["protocol"]["test"]["subjects"] == list(run.fold.test)
        assert fold["protocol"]["subject_sets"] == "own"
    medians = [fold["force_recovery_median_r"] for fold in summary["folds"].values()]
    assert summary["force_recovery_median_r"] == pytest.approx(sum(medians) / 3)


def test_force_recovery_by_fold_and_mean(scores: Path) -> None:
    rows = [row for row in read_csv(scores / "force_recovery.csv") if row["muscle"] == "zygomaticus_major_left"]
    assert [row["fold"] for row in rows] == ["1", "2", "3", "mean"]
    r = [float(row["r"]) for row in rows]
    assert r[3] == pytest.approx(sum(r[:3]) / 3)


def test_evaluation_is_printed(
    run_folder: Path, corpus: Corpus, scores: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "--run", str(run_folder), "--corpus", str(corpus.path), "--out", str(tmp_path)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    for words in ("fold 3", "own F1", "AU12", "mean", "3 folds tested on their own test subjects", "median r"):
        assert words in out
    assert "\u2026" not in out  # no heading or number is cut at 80 columns
    assert main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out) == json.loads((scores / "evaluation.json").read_text())
    assert err == ""


def test_another_corpus_is_tested_whole(
    run_folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with CorpusWriter(tmp_path / "other", corpus.rig, corpus.action_units, corpus.fps) as writer:
        for sequence in corpus:
            writer.add(replace(sequence, subject=f"X{sequence.subject}", muscle_forces=None))
    arguments = [
        "evaluate",
        "--run",
        str(run_folder),
        "--corpus",
        str(tmp_path / "other"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "3 folds tested on all subjects of another corpus: 6 / 6 / 6 subjects" in out
    assert err == ""
    summary = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert summary["tested_on"] == "all subjects of another corpus"
    assert summary["folds"]["2"]["protocol"]["test"]["another_corpus"]
    assert not (tmp_path / "out" / "force_recovery.csv").exists()


def test_namesakes_in_another_corpus_are_pointed_out(
    run_folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with CorpusWriter(tmp_path / "other", corpus.rig, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S002_T1"], muscle_forces=None))
    arguments = [
        "evaluate",
        "--run",
        str(run_folder),
        "--corpus",
        str(tmp_path / "other"),
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 0
    assert "has subjects of the same name, such as 'S002'" in capsys.readouterr().err


def edit_config(folder: Path, **changes: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.fixture
def copy(run_folder: Path, tmp_path: Path) -> Path:
    shutil.copytree(run_folder, tmp_path / "copy")
    return tmp_path / "copy"


def test_runs_that_cannot_be_tested(copy: Path, corpus: Corpus, tmp_path: Path, fails: Callable[..., None]) -> None:
    given = ["--corpus", corpus.path, "--out", tmp_path / "out"]
    (tmp_path / "empty").mkdir()
    fails("evaluate", "--run", tmp_path / "nowhere", *given, words=("nowhere", "no such folder"))
    fails("evaluate", "--run", tmp_path / "empty", *given, words=("empty contains no run", "fold1"))
    (copy / "fold4").mkdir()
    fails("evaluate", "--run", copy, *given, words=("fold4 contains no run", "resume"))
    (copy / "fold4").rmdir()
    first = json.loads((copy / "fold1" / "config.json").read_text())
    second = json.loads((copy / "fold2" / "config.json").read_text())
    edit_config(copy / "fold2", fold=first["fold"])
    fails("evaluate", "--run", copy, *given, words=("is tested in", "fold1 and", "fold2, expected in one"))
    edit_config(copy / "fold2", fold={**second["fold"], "train": [*second["fold"]["train"], second["fold"]["test"][0]]})
    fails("evaluate", "--run", copy, *given, words=("fold2", "is in train and in test"))
    edit_config(copy / "fold2", fold=second["fold"], training={**second["training"], "seed": 7})
    fails("evaluate", "--run", copy, *given, words=("fold2 was trained with other options than",))
    edit_config(copy / "fold2", training=second["training"], corpus_sha256="0" * 64)
    fails("evaluate", "--run", copy, *given, words="fold2 was trained on another corpus than")
    edit_config(copy / "fold2", version=9)
    fails("evaluate", "--run", copy, *given, words=("config.json", "expected run version 1, found 9"))
    edit_config(copy / "fold2", version=1, corpus_sha256=second["corpus_sha256"])
    (copy / "fold3" / "detector.json").unlink()
    fails("evaluate", "--run", copy, *given, words=("fold3 contains no detector", "resume it"))
    assert not (tmp_path / "out").exists()


def test_a_corpus_of_another_rig(
    run_folder: Path, corpus: Corpus, tmp_path: Path, fails: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    rig = corpus.rig
    moved = FaceRig(rig.neutral + 1, rig.faces, rig.blendshapes, rig.names)
    with CorpusWriter(tmp_path / "other", moved, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S004_T1"], muscle_forces=None))
    given = ["--out", str(tmp_path / "out"), "--json"]
    assert main(["evaluate", "--run", str(run_folder), "--corpus", str(tmp_path / "other"), *given[:2]]) == 0
    assert "another rig or number of vertices than in training: shapes are matched by name" in " ".join(
        capsys.readouterr().out.split()
    )
    sequence = ["--sequence", "S004_T1", "--run", str(run_folder), *given, "--forces", "detector"]
    found = []
    for folder in (tmp_path / "other", corpus.path):
        assert main(["predict", str(folder), *sequence]) == 0
        found.append(json.loads(capsys.readouterr().out)["action_units"])
    for unit, row in found[0].items():
        assert row["mean"] == pytest.approx(found[1][unit]["mean"], abs=1e-5)
    given = ["--run", run_folder, "--out", tmp_path / "out"]
    fails("train", "--corpus", tmp_path / "other", "--out", run_folder, "--resume", *SMALL, words="num_folds")
