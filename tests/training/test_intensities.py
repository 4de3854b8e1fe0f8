"""Intensities from the folders of BP4D and DISFA, and of simulated people, through training to scores and tables."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from commands.small import SMALL
from corpus.datasets.trees import (
    STARTS,
    frames_of,
    intensity,
    make_bp4d,
    make_bp4d_recordings,
    make_disfa,
    make_disfa_recordings,
    write_intensities,
)
from torch import Tensor

from biomechau.cli import main
from biomechau.corpus import Corpus, CorpusWriter, Fold
from biomechau.corpus.datasets.bp4d import INTENSITY_UNITS
from biomechau.corpus.signals import read_result
from biomechau.training import Run, TrainingConfig, evaluate, train
from biomechau.training.intensity_scores import intensity_scores


def _call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def _build(name: str, folder: Path) -> Corpus:
    root, recordings = folder / name, folder / "recordings"
    make, make_recordings = {
        "bp4d": (make_bp4d, make_bp4d_recordings),
        "disfa": (make_disfa, make_disfa_recordings),
    }[name]
    make(root)
    make_recordings(recordings)
    if name == "bp4d":
        for unit in INTENSITY_UNITS:
            for id in STARTS:
                path = root / "AU-Intensity-Codes3.0" / f"AU{unit:02}" / f"{id}_AU{unit:02}.csv"
                write_intensities(path, unit, frames_of(id, 90))  # the last six frames are not coded
    given = ["corpus", name, root, "--coefficients", recordings, "--rig", "builtin:1000", "--out", folder / "corpus"]
    assert _call(*given) == 0
    return Corpus.open(folder / "corpus")


@pytest.mark.parametrize(("name", "units"), [("bp4d", INTENSITY_UNITS), ("disfa", (1, 2, 4, 6, 9, 12, 25, 26))])
def test_from_the_folder_to_the_scores(name: str, units: tuple[int, ...], tmp_path: Path) -> None:
    corpus = _build(name, tmp_path)
    assert corpus.intensity_units == units
    id, start = ("F001_T1", STARTS["F001_T1"]) if name == "bp4d" else ("SN010", 1)
    stored = corpus[id].intensities
    assert stored is not None
    for column, unit in enumerate(corpus.action_units):
        expected = [float(intensity(unit, start + n)) if unit in units and n < 90 else -1.0 for n in range(len(stored))]
        assert stored[:, column].tolist() == expected
    if name == "disfa":
        assert torch.equal(corpus[id].labels == 1, stored >= 2)
    run = tmp_path / "run"
    assert _call("train", "--corpus", corpus.path, "--out", run, "--num-folds", 4, "--fold", 1, *SMALL) == 0
    opened = Run.open(run / "fold1")
    assert opened.config.detector.intensity_units == units
    assert _call("evaluate", "--run", run, "--corpus", corpus.path, "--out", tmp_path / "scores") == 0
    (found,) = json.loads((tmp_path / "scores" / "evaluation.json").read_text())["folds"].values()
    assert [score["action_unit"] for score in found["intensities"]] == list(units)
    tested = [corpus[id] for id in corpus.ids_of(opened.fold.test)]
    for score in found["intensities"]:
        column = corpus.action_units.index(score["action_unit"])
        known = sum(int(((s.intensities[:, column] >= 0) & s.valid).sum()) for s in tested if s.intensities is not None)
        assert score["known_frames"] == known
        assert -1 <= score["icc"] <= 1
        assert 0 <= score["mae"] <= 5
    with (tmp_path / "scores" / "intensity_scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["fold"] for row in rows] == ["1"] * len(units) + ["mean"] * len(units)
    given = ["predict", corpus.path, "--sequence", id, "--run", run, "--out", tmp_path / "prediction"]
    assert _call(*given) == 0
    (signals,) = read_result(tmp_path / "prediction" / "action_unit_intensities.csv")
    assert signals.scale == "intensity"
    whole = [name for name in signals.names if "_" not in name]
    assert whole == [f"AU{unit:02}" for unit in units]
    if "AU12_left" in signals.names:
        column = {name: signals.values[:, n] for n, name in enumerate(signals.names)}
        np.testing.assert_array_equal(column["AU12"], np.maximum(column["AU12_left"], column["AU12_right"]))
    peaks = np.nanmax(signals.values, 0)
    assert (np.nanmin(signals.values) >= 0) & (peaks.max() <= 5)
    summary = json.loads((tmp_path / "prediction" / "summary.json").read_text())["action_units"]
    assert summary["AU12"]["intensity"]["peak"] == pytest.approx(peaks[signals.names.index("AU12")], abs=1e-4)
    assert [name for name, row in summary.items() if row["intensity"] is None] == [
        f"AU{unit:02}" for unit in corpus.action_units if unit not in units
    ]


def _agreement(found: Tensor, truth: Tensor) -> tuple[float, float]:
    """ICC(3,1) by the mean squares of a two-way analysis of variance, and r."""
    values = torch.stack([found, truth], 1).double()
    n, k = values.shape
    rows, raters, grand = values.mean(1), values.mean(0), values.mean()
    between = k * (rows - grand).square().sum() / (n - 1)
    error = (values - rows[:, None] - raters + grand).square().sum() / ((n - 1) * (k - 1))
    return float((between - error) / (between + (k - 1) * error)), float(torch.corrcoef(values.T)[0, 1])


def test_scores_are_those_of_an_analysis_of_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(-1, 6, (400, 3), generator=generator).float()
    truth[:, 2] = 0
    found = (truth + torch.randn(400, 3, generator=generator)).clamp(0, 5)
    p = torch.rand(400, 3, generator=generator)
    scores = intensity_scores(found, truth, p, (4, 12, 17))
    for column, score in enumerate(scores[:2]):
        known = truth[:, column] >= 0
        icc, r = _agreement(found[known, column], truth[known, column])
        assert score.icc == pytest.approx(icc)
        assert score.r == pytest.approx(r)
        assert score.mae == pytest.approx(float((found - truth)[known, column].abs().mean()))
        scaled = torch.linalg.lstsq(p[known, column, None], truth[known, column, None]).solution * p[known, column]
        icc, r = _agreement(scaled.flatten(), truth[known, column])
        assert score.scaled_icc == pytest.approx(icc, abs=1e-5)
        assert score.scaled_r == pytest.approx(r, abs=1e-5)
        assert score.known_frames == int(known.sum())
    assert (scores[2].icc, scores[2].r) == (None, None)
    assert scores[2].mae == pytest.approx(float(found[:, 2].mean()))
    (unknown,) = intensity_scores(found[:, :1], torch.full((400, 1), -1.0), p[:, :1], (4,))
    assert (unknown.icc, unknown.mae, unknown.known_frames) == (None, None, 0)
    with pytest.raises(ValueError, match=r"must have shape \(frames, 2\)"):
        intensity_scores(found, truth, p, (4, 12))


def test_simulated_people_train_intensities_of_both_sides(
    corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path
) -> None:
    settings = replace(config, epochs=1).for_corpus(corpus, config.detector.action_units)
    assert settings.detector.intensity_units == config.detector.action_units
    run = train(corpus, fold, settings, tmp_path / "run", progress=False)
    assert "intensity" in run.metrics()[0]
    scores = evaluate(run, corpus).intensities
    assert [score.action_unit for score in scores] == list(config.detector.action_units)
    off = replace(config, losses=replace(config.losses, intensity=0.0)).for_corpus(corpus)
    assert off.detector.intensity_units is None
    assert TrainingConfig.paper().for_corpus(corpus).detector.intensity_units is None


def test_a_corpus_without_intensities(corpus: Corpus, config: TrainingConfig, tmp_path: Path) -> None:
    with CorpusWriter(tmp_path / "plain", corpus.rig, corpus.action_units, corpus.fps) as writer:
        for sequence in corpus:
            writer.add(replace(sequence, muscle_forces=None, side_intensities=None))
    plain = Corpus.open(tmp_path / "plain")
    assert plain.intensity_units == ()
    assert config.for_corpus(plain).detector.intensity_units is None


def test_intensities_of_one_s_own(corpus: Corpus, tmp_path: Path) -> None:
    c = torch.zeros(3, corpus.rig.num_shapes)
    with CorpusWriter(tmp_path / "own", corpus.rig, (6, 12), 25.0) as writer:
        writer.add_frames("a_1", "a", c, [[0, 1]] * 3, intensities=[[0, 3.5], [float("nan"), 5], [-1, 1]])
        for wrong, words in ((6.0, "6 in frame 1, column 0"), (-2.0, "-2 in frame 1, column 0")):
            with pytest.raises(ValueError, match=rf"intensities is {words}; expected -1 \(unknown\), or 0 .* to 5"):
                writer.add_frames("a_2", "a", c, [[0, 1]] * 3, intensities=[[0, 1], [wrong, 1], [0, 1]])
    own = Corpus.open(tmp_path / "own")
    stored = own["a_1"].intensities
    assert stored is not None
    assert stored.tolist() == [[0, 3.5], [-1, 5], [-1, 1]]
    assert own.intensity_units == (6, 12)
