"""Ensemble: detectors of several folds, read once, that answer together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import biomechau
from biomechau.analysis import Ensemble, chosen_predictions, predict, predictions
from biomechau.corpus import Corpus, CorpusSequence, CorpusWriter, FaceSequence, Fold
from biomechau.models import Detector, DetectorConfig
from biomechau.rig import Distribution, FaceRig
from biomechau.training import Run, TrainingConfig, open_runs

FOLDS = {1: Fold(("a",), ("b",), ("c",)), 2: Fold(("c",), ("a",), ("b",))}


@pytest.fixture(scope="module")
def corpus(tiny_rig: FaceRig, clip: FaceSequence, tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Three people who make the face of the clip."""
    path = tmp_path_factory.mktemp("corpora") / "corpus"
    labels = (clip.coefficients[:, :2] > 0.1).to(torch.int8)
    with CorpusWriter(path, tiny_rig, (6, 12), clip.fps) as writer:
        for subject in "abc":
            tensors = (clip.coefficients, labels, clip.timestamp, clip.valid)
            writer.add(CorpusSequence(f"{subject}1", subject, "", *tensors))
    return Corpus.open(path)


@pytest.fixture(scope="module")
def folder(tiny_rig: FaceRig, corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs whose detectors have random weights."""
    path = tmp_path_factory.mktemp("runs") / "run"
    config = TrainingConfig(detector=DetectorConfig(action_units=(6, 12), hidden=8, head_hidden=4, context=1))
    with pytest.warns(UserWarning, match="left out"):
        distribution = Distribution.from_rig(tiny_rig)
    for number, fold in FOLDS.items():
        run = Run.new(path / f"fold{number}", config, fold, corpus)
        run.save()
        torch.manual_seed(number)
        detector = Detector(tiny_rig, distribution, config.detector)
        detector.fit_statistics([corpus["a1"].coefficients[:, detector.dynamics.shape_indices]])
        detector.save(run.path)
    return path


def test_it_is_made_of_a_folder_of_runs_or_of_an_ensemble(folder: Path, tiny_rig: FaceRig, clip: FaceSequence) -> None:
    ensemble = Ensemble.of(folder)
    assert ensemble.folds == (1, 2)
    assert ensemble.rig.names == tiny_rig.names
    assert ensemble.config.action_units == (6, 12)
    assert Ensemble.of(ensemble) is ensemble
    assert Ensemble.of(folder / "fold2").folds == ensemble.only([2]).folds == (2,)
    expected = predict(ensemble, clip)
    assert biomechau.predict is predict
    for source in (folder, str(folder), open_runs(folder)):
        assert torch.equal(predict(source, clip).probabilities, expected.probabilities)


def test_what_it_says_is_the_mean_of_the_folds(folder: Path, clip: FaceSequence) -> None:
    ensemble = Ensemble.of(folder)
    both, *each = (predict(one, clip) for one in (ensemble, ensemble.only([1]), ensemble.only([2])))
    assert (both.folds, both.action_units) == ((1, 2), (6, 12))
    for name in ("probabilities", "side_probabilities", "forces", "reconstructed"):
        mean = torch.stack([getattr(one, name) for one in each]).mean(0)
        torch.testing.assert_close(getattr(both, name), mean)
    assert not torch.equal(each[0].probabilities, each[1].probabilities)


def test_detectors_are_read_once(folder: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many sequences are asked for, and by whichever folds."""
    read: list[Path] = []
    load = Detector.load
    monkeypatch.setattr(Detector, "load", lambda path: (read.append(path), load(path))[1])
    chosen = chosen_predictions(folder, corpus, ["c1", "b1"])
    assert [(choice.id, prediction.folds) for choice, prediction in chosen] == [("c1", (1,)), ("b1", (2,))]
    assert read == [folder / "fold1", folder / "fold2"]


def test_a_subject_that_no_fold_tests(folder: Path, corpus: Corpus) -> None:
    with pytest.raises(ValueError, match="sequence a1 of .* test subject of no fold"):
        list(predictions(folder, corpus, ["a1"]))


def test_what_makes_no_ensemble(folder: Path) -> None:
    with pytest.raises(ValueError, match="there are no runs to predict with"):
        Ensemble.of({})
    whole = Ensemble.of(folder)
    with pytest.raises(ValueError, match=r"runs are of the folds \[1, 2\], detectors of \[2\]"):
        replace(whole, detectors={2: whole.detectors[2]})
