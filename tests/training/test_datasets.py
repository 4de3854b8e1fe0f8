"""Made BP4D and DISFA trees with pictures through every command, down to the scores, with scikit-learn's beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from commands.small import SMALL
from corpus.datasets.trees import (
    make_bp4d,
    make_bp4d_images,
    make_bp4d_recordings,
    make_disfa,
    make_disfa_recordings,
    make_disfa_videos,
)
from models.backbones import save_resnet
from sklearn.metrics import f1_score, matthews_corrcoef
from torch.utils.data import DataLoader

from biomechau.cli import main
from biomechau.corpus import Corpus, subject_folds
from biomechau.corpus.picture_file import read_picture
from biomechau.corpus.video import read_video
from biomechau.models import load_backbone
from biomechau.training import DetectorWindows, Run


def _call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def _build(name: str, folder: Path) -> Corpus:
    """The corpus, with image features of a ResNet."""
    root, recordings, pictures = folder / name, folder / "recordings", folder / "pictures"
    made = {
        "bp4d": (make_bp4d, make_bp4d_recordings, make_bp4d_images),
        "disfa": (make_disfa, make_disfa_recordings, make_disfa_videos),
    }
    for make, place in zip(made[name], (root, recordings, pictures), strict=True):
        make(place)
    given = ["corpus", name, root, "--coefficients", recordings, "--rig", "builtin:1000"]
    assert _call(*given, "--check", "--images" if name == "bp4d" else "--videos", pictures) == 0
    assert _call(*given, "--out", folder / "corpus") == 0
    backbone = save_resnet(folder / "resnet")
    assert _call("corpus", "features", folder / "corpus", "--images", pictures, "--backbone", backbone) == 0
    return Corpus.open(folder / "corpus")


def _check_features(name: str, folder: Path, corpus: Corpus) -> None:
    """Each labelled frame has the features of its own picture."""
    backbone = load_backbone(str(folder / "resnet"))
    if name == "bp4d":
        numbers = {"F001_T1": "F001/T1/2443.jpg", "F003_T2": "f003/t2/736.jpg", "M002_T1": "M002/T1/000008.jpg"}
        pictures = {id: read_picture(folder / "pictures" / file) for id, file in numbers.items()}
    else:
        video = folder / "pictures" / "Video_LeftCamera" / "LeftVideoSN010_comp.avi"
        pictures = {"SN010": next(frame.picture for frame in read_video(video) if frame.number == 3)}
    for id, picture in pictures.items():
        features = corpus[id].image_features
        assert features is not None
        torch.testing.assert_close(features[3], backbone.features([picture])[0])


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


def _scores(run: Path, corpus: Corpus, out: Path) -> dict[str, Any]:
    assert _call("evaluate", "--run", run, "--corpus", corpus.path, "--out", out) == 0
    (scores,) = json.loads((out / "evaluation.json").read_text())["folds"].values()
    return scores


@pytest.mark.slow
@pytest.mark.parametrize(("name", "tested"), [("bp4d", "F001"), ("disfa", "SN010")])
def test_from_the_folder_to_the_scores(name: str, tested: str, tmp_path: Path) -> None:
    corpus = _build(name, tmp_path)
    _check_features(name, tmp_path, corpus)
    number = next(n for n, fold in enumerate(subject_folds(corpus, 4), 1) if fold.test == (tested,))
    folds = ["--num-folds", 4, "--fold", number]
    given = ["--corpus", corpus.path, "--out", tmp_path / "run", "--head", "physics_image"]
    assert _call("train", *given, *folds, *SMALL) == 0
    found = _scores(tmp_path / "run", corpus, tmp_path / "scores")
    assert found["protocol"]["corpus"]["source"] == corpus.provenance["source"]
    assert found["protocol"]["images"]["backbone"]["name"] == "resnet"
    on, labels = _predictions(Run.open(tmp_path / "run" / f"fold{number}"), corpus)
    assert 0.02 < on.float().mean() < 0.98
    masked = (labels == -1).sum(0)
    # BP4D: frames without a face, and code 9; DISFA: the last window is one frame short.
    assert masked.tolist() == ([2] * 10 + [12, 12] if name == "bp4d" else [1] * 8)
    for column, score in enumerate(found["action_units"]):
        known = labels[:, column] != -1
        truth, said = labels[known, column].numpy(), on[known, column].int().numpy()
        assert score["known_frames"] == len(truth)
        assert abs(score["f1"] - f1_score(truth, said, zero_division=0)) <= 1e-12
        assert abs(score["mcc"] - matthews_corrcoef(truth, said)) <= 1e-12
