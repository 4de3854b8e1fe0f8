"""Made BP4D and DISFA trees through the commands, a training and an evaluation, with scikit-learn's scores beside."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from corpus.datasets.trees import make_bp4d, make_bp4d_recordings, make_disfa, make_disfa_recordings
from sklearn.metrics import f1_score, matthews_corrcoef
from torch.utils.data import DataLoader

from biomechau.cli import main
from biomechau.corpus import Corpus, Fold
from biomechau.training import DetectorWindows, Run, TrainingConfig, evaluate, train


def _build(name: str, folder: Path) -> Corpus:
    root, recordings = folder / name, folder / "recordings"
    {"bp4d": make_bp4d, "disfa": make_disfa}[name](root)
    {"bp4d": make_bp4d_recordings, "disfa": make_disfa_recordings}[name](recordings)
    arguments = ["corpus", name, str(root), "--coefficients", str(recordings), "--rig", "builtin:1000"]
    assert main([*arguments, "--check"]) == 0
    assert main([*arguments, "--out", str(folder / "corpus")]) == 0
    return Corpus.open(folder / "corpus")


def _predictions(run: Run, corpus: Corpus) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether each action unit is said to be on in the test frames, and its label, -1 where masked."""
    detector = run.detector()
    windows = DetectorWindows(corpus, run.fold.test, detector, run.config.num_frames)
    on, labels = [], []
    for batch in DataLoader(windows, 3):
        with torch.no_grad():
            on.append(detector(batch).probabilities.flatten(0, 1) > 0.5)
        labels.append(batch["labels"].where(batch["valid"][..., None], -1).flatten(0, 1))
    return torch.cat(on), torch.cat(labels)


@pytest.mark.parametrize(
    ("name", "fold"),
    [
        ("bp4d", Fold(("F003", "F004"), ("M002",), ("F001",))),
        ("disfa", Fold(("SN001", "SN002"), ("SN003",), ("SN010",))),
    ],
)
def test_from_the_folder_to_the_scores(name: str, fold: Fold, config: TrainingConfig, tmp_path: Path) -> None:
    corpus = _build(name, tmp_path)
    physics = replace(config.detector.physics, fps=corpus.fps)
    detector = replace(config.detector, action_units=corpus.action_units, physics=physics)
    run = train(corpus, fold, replace(config, detector=detector), tmp_path / "run", progress=False)
    found = evaluate(run, corpus)
    assert found.card["corpus"]["source"] == corpus.provenance["source"]
    on, labels = _predictions(run, corpus)
    assert 0.02 < on.float().mean() < 0.98
    masked = (labels == -1).sum(0)
    # BP4D: frames without a face, and code 9; DISFA: the last window is one frame short.
    assert masked.tolist() == ([2] * 10 + [12, 12] if name == "bp4d" else [1] * 8)
    for column, score in enumerate(found.scores.units):
        known = labels[:, column] != -1
        truth, said = labels[known, column].numpy(), on[known, column].int().numpy()
        assert score.known_frames == len(truth)
        assert abs(score.f1 - f1_score(truth, said, zero_division=0)) <= 1e-12
        assert abs(score.mcc - matthews_corrcoef(truth, said)) <= 1e-12
