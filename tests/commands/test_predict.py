"""``biomechau predict``: means of folds, gaps, neutral faces, and how it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.small import SMALL, UNITS, read_csv

from biomechau.analysis import predict_corpus_sequence
from biomechau.cli import main
from biomechau.corpus import Corpus
from biomechau.training import evaluate, open_runs


@pytest.fixture
def capture(corpus: Corpus, tmp_path: Path) -> Path:
    """Two sequences of a subject one after the other, at 50 fps with a gap of a fifth of a second."""
    c = torch.cat([corpus[id].coefficients for id in corpus.ids[:2]]).numpy()
    time = np.arange(96) / 50
    kept = (time < 0.8) | (time > 1.0)
    path = tmp_path / "capture.npz"
    np.savez(path, coefficients=c[kept], names=np.array(corpus.shapes), timestamp=time[kept], fps=50.0)
    return path


@pytest.mark.usefixtures("no_viz")
def test_predictions_are_the_mean_of_the_folds(
    run_folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sequence = corpus["S002_T1"]
    path = corpus.path / "sequences" / "S002_T1.safetensors"
    command = ["predict", str(path), "--run", str(run_folder), "--forces", "detector"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "mean of the folds 1, 2, 3" in out
    assert "muscle forces by the detectors" in out
    trained = [n for n, run in open_runs(run_folder).items() if "S002" not in run.fold.test]
    assert f"subject 'S002' was used to train fold {trained[0]}, {trained[1]};" in err
    rows = read_csv(tmp_path / "out" / "action_units.csv")
    columns = [f"AU{int(unit):02d}{side}" for unit in UNITS for side in ("", "_left", "_right")]
    assert list(rows[0]) == ["frame", "timestamp", "recorded_frame", *columns]
    found = np.array([[float(row[f"AU{int(unit):02d}"]) for unit in UNITS] for row in rows])
    found_sides = np.array([[float(row[name]) for name in columns if "_" in name] for row in rows])
    expected, sides, forces = [], [], []
    for run in open_runs(run_folder).values():
        detector = run.detector()
        with torch.no_grad():
            output = detector({"coefficients": sequence.coefficients[:, detector.dynamics.shape_indices]})
        expected.append(output.probabilities)
        sides.append(output.side_probabilities.flatten(-2))
        forces.append(output.forces)
    np.testing.assert_allclose(found, torch.stack(expected).mean(0), atol=2e-6)
    np.testing.assert_allclose(found_sides, torch.stack(sides).mean(0), atol=2e-6)
    muscles = detector.dynamics.muscles.names
    rows = read_csv(tmp_path / "out" / "forces.csv")
    assert list(rows[0]) == ["frame", "timestamp", "recorded_frame", "quality", *muscles]
    found = np.array([[float(row[muscle]) for muscle in muscles] for row in rows])
    np.testing.assert_allclose(found, torch.stack(forces).mean(0), rtol=1e-4, atol=1e-6)
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    thresholds = np.mean([run.thresholds for run in open_runs(run_folder).values()], 0)
    units = summary["action_units"].values()
    assert [unit["threshold"] for unit in units] == pytest.approx(thresholds)
    probabilities = torch.stack(expected).mean(0).double().numpy()
    assert [unit["share_on"] for unit in units] == pytest.approx((probabilities > thresholds).mean(0), abs=1e-9)
    assert summary["folds_trained_on_the_subject"] == trained
    unit = summary["action_units"]["AU12"]
    right = unit["sides"]["right"]
    assert right["peak"] == pytest.approx(found_sides[:, -1].max(), abs=2e-6)
    assert right["share_on"] == pytest.approx((found_sides[:, -1] > unit["threshold"]).mean())
    assert summary["labels"]["action_units"][0]["known_frames"] == 48


@pytest.mark.usefixtures("no_viz")
def test_one_fold_alone(run_folder: Path, corpus: Corpus, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    number = next(n for n, run in open_runs(run_folder).items() if "S002" in run.fold.test)
    given = ["predict", str(corpus.path), "--sequence", "S002_T2", "--run", str(run_folder), "--out", str(tmp_path)]
    assert main([*given, "--fold", str(number), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["folds"] == [number]
    assert json.loads(out)["combined"] == "one fold"
    assert "trained on subject" not in err
    assert main([*given[:-3], str(run_folder / f"fold{number}"), "--out", str(tmp_path / "b"), "--json"]) == 0
    assert (tmp_path / "b" / "action_units.csv").read_bytes() == (tmp_path / "action_units.csv").read_bytes()


@pytest.mark.usefixtures("no_viz")
def test_dropped_frames_are_reported_and_their_cells_empty(
    run_folder: Path, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(capture), "--run", str(run_folder), "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "frames dropped in the recording: 11 after frame 39" in out
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["frames"]["fps"] == 25
    assert summary["frames"]["count"] == 48
    filled = summary["frames"]["filled"]
    assert filled
    assert f"{len(filled)} of 48 frames were not measured: their cells are empty" in out
    for name in ("action_units.csv", "forces.csv"):
        rows = read_csv(tmp_path / "out" / name)
        empty = [n for n, row in enumerate(rows) if set(list(row.values())[4:]) == {""}]
        assert empty == filled
        assert all("" not in row.values() for n, row in enumerate(rows) if n not in filled)


@pytest.mark.usefixtures("no_viz")
def test_a_neutral_face_is_that_of_the_recording(corpus: Corpus, capture: Path, tmp_path: Path) -> None:
    options = ["--fold", "1", "--neutral", "5", "--epochs", "1"]
    assert main(["train", "--corpus", str(corpus.path), "--out", str(tmp_path / "run"), *SMALL, *options]) == 0
    shifted = dict(np.load(capture))
    shifted["coefficients"] = shifted["coefficients"] + 0.1
    np.savez(tmp_path / "shifted.npz", **shifted)
    for path, out in ((capture, "a"), (tmp_path / "shifted.npz", "b")):
        assert main(["predict", str(path), "--run", str(tmp_path / "run"), "--out", str(tmp_path / out)]) == 0
    a, b = (np.genfromtxt(tmp_path / out / "action_units.csv", delimiter=",", skip_header=1) for out in "ab")
    np.testing.assert_allclose(a, b, atol=1e-4)
    neutral = json.loads((tmp_path / "b" / "summary.json").read_text())["neutral"]
    before = json.loads((tmp_path / "a" / "summary.json").read_text())["neutral"]
    assert all(neutral[name] == pytest.approx(before[name] + 0.1, abs=1e-5) for name in neutral)


@pytest.mark.slow
def test_the_picture(run_folder: Path, corpus: Corpus, tmp_path: Path) -> None:
    pytest.importorskip("pyvista")
    image = pytest.importorskip("matplotlib.image")
    given = ["predict", str(corpus.path), "--sequence", "S001_T1", "--run", str(run_folder), "--out", str(tmp_path)]
    assert main(given) == 0
    names = ["action_units.csv", "forces.csv", "prediction.png", "replay.safetensors", "summary.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert image.imread(tmp_path / "prediction.png").std() > 0.05


@pytest.mark.usefixtures("no_viz")
def test_predict_analyze_and_forces_give_the_same_forces(
    run_folder: Path, corpus: Corpus, capture: Path, tmp_path: Path
) -> None:
    given, run = [str(capture), "--out"], ["--run", str(run_folder)]
    rig = ["--rig", str(corpus.path / "rig.safetensors")]
    assert main(["predict", *given, str(tmp_path / "predict"), *run]) == 0
    assert main(["analyze", *given, str(tmp_path / "study"), *run, *rig]) == 0
    assert main(["forces", *given, str(tmp_path / "forces"), *rig]) == 0
    tables = [tmp_path / name / "forces.csv" for name in ("predict", "study/capture", "forces")]
    (names, *rows), *others = ([line.split(",") for line in path.read_text().splitlines()] for path in tables)
    for other in others:
        assert other[0] == names
        found = [[float(cell or "nan") for cell in row] for row in rows]
        np.testing.assert_allclose(found, [[float(cell or "nan") for cell in row] for row in other[1:]], atol=2e-6)
    summary = json.loads((tmp_path / "predict" / "summary.json").read_text())
    assert summary["forces_by"] == "inverse dynamics"
    assert summary["muscles"] == json.loads((tmp_path / "forces" / "summary.json").read_text())["muscles"]


@pytest.mark.slow
def test_a_head_without_physics(
    corpus: Corpus, capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyvista")
    options = ["--fold", "1", "--head", "position_temporal", "--epochs", "1"]
    assert main(["train", "--corpus", str(corpus.path), "--out", str(tmp_path / "run"), *SMALL, *options]) == 0
    command = ["predict", str(capture), "--run", str(tmp_path / "run"), "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert (tmp_path / "out" / "forces.csv").is_file()
    shutil.rmtree(tmp_path / "out")
    assert main([*command, "--forces", "detector"]) == 0
    assert "no muscle forces: the head has no physics" in capsys.readouterr().out
    names = ["action_units.csv", "prediction.png", "replay.safetensors", "summary.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert main(["report", str(tmp_path / "out"), "--out", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert '"probabilities": {' in html
    assert '"forces": {' not in html


@pytest.mark.usefixtures("no_viz")
def test_a_real_capture(run_folder: Path, capture_csv: Path, tmp_path: Path) -> None:
    assert main(["predict", str(capture_csv), "--run", str(run_folder), "--out", str(tmp_path)]) == 0
    assert len(read_csv(tmp_path / "action_units.csv")) == 78


def test_the_default_detector_says_what_it_is(
    capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """On the terminal, in summary.json and on the page: trained on simulated people, and the F1 of its test."""
    assert main(["predict", str(capture), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    words = "trained on simulated people alone: it has seen no labelled real face"
    assert words in out
    assert "test F1" in out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["run"] == "default"
    assert summary["training"] == {
        "corpus": "biomechau simulator",
        "simulated": True,
        "note": words,
        "tested_on": summary["training"]["tested_on"],
    }
    assert "simulated people that it was not trained on" in summary["training"]["tested_on"]
    for row in summary["action_units"].values():
        assert 0 < row["test_f1"] < 1
        assert row["measured"]
        assert row["flagged"] == (row["disagrees_with_force"] > 0.1)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "page.html")]) == 0
    html = (tmp_path / "page.html").read_text()
    assert words in html
    assert f"test F1 {100 * summary['action_units']['AU12']['test_f1']:.0f}" in html


def test_a_run_of_another_corpus_does_not_say_that_it_was_simulated(run_folder: Path, corpus: Corpus) -> None:
    summary = predict_corpus_sequence(run_folder, corpus, corpus.ids[0]).summary()
    assert summary["training"] == {"corpus": None, "simulated": False, "note": None, "tested_on": None}
    assert all(row["test_f1"] is None for row in summary["action_units"].values())


def test_a_fold_that_an_experiment_has_tested_tells_its_scores(
    run_folder: Path, corpus: Corpus, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    tested = evaluate(run / "fold1", corpus)
    tested.save(run / "fold1")
    training = predict_corpus_sequence(run / "fold1", corpus, corpus.ids[0]).summary()
    assert training["training"]["tested_on"] == "the test subjects of the fold"
    units = {f"AU{unit.action_unit:02d}": unit for unit in tested.scores.units}
    for name, row in training["action_units"].items():
        assert row["test_f1"] == units[name].threshold_f1
    page = tmp_path / "page.html"
    assert main(["report", str(run), "--corpus", str(corpus.path), "--out", str(page)]) == 0
    assert page.exists()


def test_units_that_contradict_their_muscles_are_flagged(run_folder: Path, corpus: Corpus) -> None:
    prediction = predict_corpus_sequence(run_folder, corpus, corpus.ids[0])
    assert prediction.forces is not None
    on, pulling = torch.ones_like(prediction.probabilities), torch.ones_like(prediction.forces)
    for p, force, share in (
        (on, pulling, 0.0),
        (on, 0 * pulling, 1.0),
        (0 * on, pulling, 1.0),
        (0 * on, 0 * pulling, 0),
    ):
        made = replace(prediction, probabilities=p, forces=force)
        assert made.force_disagreement() == dict.fromkeys(made.action_units, share)
        assert all(row["flagged"] == (share == 1) for row in made.summary()["action_units"].values())


@pytest.mark.usefixtures("no_viz")
def test_a_run_in_training_names_the_fold_that_is_done(
    run_folder: Path, capture: Path, tmp_path: Path, fails: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run_folder, copy)
    (copy / "fold3" / "detector.json").unlink()
    given = ["predict", str(capture), "--run", str(copy), "--out", str(tmp_path / "out")]
    fails(*given, words=("training has not finished", "--fold 1 predicts with that fold"))
    shutil.rmtree(copy / "fold3")
    (copy / "fold3").mkdir()
    fails(*given, words=("training has not started", "--fold 1 predicts with that fold"))
    assert main([*given, "--fold", "1"]) == 0
    assert "fold 1" in capsys.readouterr().out


def test_what_cannot_be_predicted(
    run_folder: Path, corpus: Corpus, capture: Path, tmp_path: Path, fails: Callable[..., None]
) -> None:
    given = ["--run", run_folder, "--out", tmp_path / "out"]
    fails("predict", tmp_path / "nowhere.csv", *given, words="nowhere.csv")
    fails("predict", corpus.path, *given, words=("is a corpus", "--sequence, such as S001_T1"))
    fails("predict", corpus.path, "--sequence", "S099", *given, words=("no sequence 'S099'", "S001_T1"))
    fails("predict", capture, "--sequence", "S001_T1", *given, words=("capture.npz is not a corpus",))
    fails("predict", capture, *given, "--fold", "5", words=("no fold 5", "1, 2, 3"))
    fails("predict", capture, "--run", tmp_path, "--out", tmp_path / "out", words="contains no run")
    assert not (tmp_path / "out").exists()


def test_the_decoded_motion_is_that_of_the_evaluation(run_folder: Path, corpus: Corpus) -> None:
    runs = open_runs(run_folder)
    number, run = next((n, run) for n, run in runs.items() if "S002" in run.fold.test)
    prediction = predict_corpus_sequence({number: run}, corpus, "S002_T1")
    rebuilt, detector = prediction.reconstructed, run.detector()
    assert rebuilt is not None
    for start in (0, 15, 30, 32):  # windows of 16 frames; the last of 48 reaches back
        frames = slice(start, start + 16)
        with torch.no_grad():
            decoded = detector({"coefficients": prediction.coefficients[frames]}).coefficients
        assert decoded is not None
        stop = 3 if start == 30 else 16
        torch.testing.assert_close(rebuilt[frames][1:stop], decoded[1:stop], atol=2e-5, rtol=0)
    torch.testing.assert_close(rebuilt[0], prediction.coefficients[0])
