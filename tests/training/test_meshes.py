"""Training on meshes: those of the corpus, with other identities added, step for step the same when resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, Fold
from biomechau.corpus.simulator import SimulationConfig, write_simulated_corpus
from biomechau.models import Detector
from biomechau.rig import FaceRig
from biomechau.training import DetectorModule, Run, TrainingConfig, evaluate, train


@pytest.fixture(scope="module")
def meshes(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """As ``corpus``, with meshes."""
    path = tmp_path_factory.mktemp("corpora") / "meshes"
    config = SimulationConfig(subjects=4, sequences=2, frames=48, coarse_vertices=100, meshes=True)
    config = replace(config, displays="table", sides="tied", trackers="alike", label_level=None)
    write_simulated_corpus(FaceRig.builtin(1000), path, config)
    return Corpus.open(path)


@pytest.fixture(scope="module")
def geometry(config: TrainingConfig) -> TrainingConfig:
    detector = replace(config.detector, head="geometry", num_input_vertices=100, filters=(4,), latent_size=8)
    return replace(config, detector=detector)


@pytest.fixture(scope="module")
def run(meshes: Corpus, fold: Fold, geometry: TrainingConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(meshes, fold, geometry, tmp_path_factory.mktemp("runs") / "run", progress=False)


def test_the_card_says_which_meshes_were_read(run: Run, meshes: Corpus) -> None:
    assert json.loads((run.path / "protocol.json").read_text())["meshes"] == "the corpus's own"
    assert evaluate(run, meshes).scores.mean_f1 is not None


def test_a_killed_training_ends_with_the_same_weights(
    run: Run, meshes: Corpus, fold: Fold, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for the end of the process."""

    step = DetectorModule.training_step

    def until_killed(self: DetectorModule, batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if (self.current_epoch, batch_idx) == (1, 1):
            raise Killed
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(DetectorModule, "training_step", until_killed)
        with pytest.raises(Killed):
            train(meshes, fold, run.config, tmp_path / "killed", progress=False)
    train(meshes, fold, run.config, tmp_path / "killed", progress=False, resume=True)
    expected = run.detector().state_dict()
    for name, tensor in Detector.load(tmp_path / "killed").state_dict().items():
        assert torch.equal(tensor, expected[name]), name


def test_meshes_that_are_their_coefficients_are_warned_of(
    corpus: Corpus, fold: Fold, geometry: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.warns(UserWarning, match="no meshes of its own .* computed from the coefficients"):
        train(corpus, fold, replace(geometry, epochs=1), tmp_path / "run", progress=False)
    card = json.loads((tmp_path / "run" / "protocol.json").read_text())
    assert card["meshes"] == "of the coefficients, exactly linear in them"
