"""Training with the labels of some sequences alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, Fold
from biomechau.models import Detector
from biomechau.rig import Distribution
from biomechau.training import TrainingConfig, train
from biomechau.training._few_labels import counts_of, labelled_sequences
from biomechau.training.data import DetectorWindows
from biomechau.training.fold_training import labelled_of, weights_of_units


def test_a_share_is_drawn_by_the_seed_and_holds_every_unit(corpus: Corpus, fold: Fold) -> None:
    units = corpus.action_units[:4]
    everything = corpus.ids_of(fold.train)
    assert labelled_sequences(corpus, fold.train, 1.0, units) == everything
    drawn = {labelled_sequences(corpus, fold.train, 0.5, units, seed) for seed in range(8)}
    assert labelled_sequences(corpus, fold.train, 0.5, units, 3) in drawn
    assert len(drawn) > 1
    for ids in drawn:
        assert len(ids) == -(-len(everything) // 2)
        assert set(ids) <= set(everything)
        on, known = counts_of(corpus, ids, units)
        assert bool((on > 0).all())
        assert bool((known >= on).all())


def test_a_share_that_cannot_be(corpus: Corpus, fold: Fold, config: TrainingConfig) -> None:
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"must lie in \(0, 1\]"):
            labelled_sequences(corpus, fold.train, share, (12,))
        with pytest.raises(ValueError, match=r"label_share must be a finite number in \(0, 1\]"):
            replace(config, label_share=share)


def test_units_that_few_sequences_never_show(corpus: Corpus, fold: Fold) -> None:
    ids = corpus.ids_of(fold.train)
    best = max(int((counts_of(corpus, [id], corpus.action_units)[0] > 0).sum()) for id in ids)
    assert best < len(corpus.action_units)
    with pytest.raises(ValueError, match="with positives of every action unit"):
        labelled_sequences(corpus, fold.train, 1e-6, corpus.action_units)


def test_only_the_labels_of_those_are_shown(corpus: Corpus, fold: Fold, config: TrainingConfig) -> None:
    detector = Detector(corpus.rig, Distribution.from_rig(corpus.rig), config.detector)
    first, *_ = corpus.ids_of(fold.train)
    windows = DetectorWindows(corpus, fold.train, detector, 16, labelled=[first])
    shown = [bool((item["labels"] >= 0).any()) for item in (windows[i] for i in range(len(windows)))]
    of_first = [windows.windows[i]["sequence_id"] == first for i in range(len(windows))]
    assert shown == of_first
    assert [bool(windows[i]["true_forces"].isfinite().any()) for i in range(len(windows))] == of_first
    assert all(bool(windows[i]["valid"].any()) for i in range(len(windows)))


def test_a_training_uses_the_motion_of_all(corpus: Corpus, fold: Fold, config: TrainingConfig, tmp_path: Path) -> None:
    losses = replace(config.losses, forces=1.0)
    run = train(corpus, fold, replace(config, label_share=0.5, losses=losses), tmp_path / "few", progress=False)
    assert 0 < run.metrics()[0]["forces"] < 1
    full = train(corpus, fold, config, tmp_path / "all", progress=False)
    few, everything = run.detector(), full.detector()
    assert torch.equal(few.statistics.mean, everything.statistics.mean)
    assert not torch.equal(few.head.layers[-1].bias, everything.head.layers[-1].bias)


def test_labels_of_a_fold_are_read_once(
    corpus: Corpus, fold: Fold, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    labels = Corpus._labels
    monkeypatch.setattr(Corpus, "_labels", lambda self, entry: (read.append(entry.id), labels(self, entry))[1])
    opened = Corpus.open(corpus.path)
    few = replace(config, label_share=0.5)
    for one in (config, few):
        labelled_of(opened, fold, one)
        weights_of_units(opened, fold, one)
    assert sorted(read) == sorted(corpus.ids_of((*fold.train, *fold.validation)))
