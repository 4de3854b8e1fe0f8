"""A small simulated corpus of the built-in face, and a training of a few seconds."""

from __future__ import annotations

import pytest

from biomechau.corpus import Corpus, Fold
from biomechau.corpus.simulator import SimulationConfig, write_simulated_corpus
from biomechau.models import DetectorConfig
from biomechau.rig import FaceRig
from biomechau.training import TrainingConfig

# Of the simulator's 12, those that even a corpus this small shows often.
ACTION_UNITS = (6, 7, 10, 12)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """4 subjects with 2 sequences of 48 frames, who show action units as often as in BP4D."""
    path = tmp_path_factory.mktemp("corpora") / "corpus"
    config = SimulationConfig(
        subjects=4,
        sequences=2,
        frames=48,
        coarse_vertices=100,
        displays="table",
        sides="tied",
        trackers="alike",
        label_level=None,
    )
    write_simulated_corpus(FaceRig.builtin(1000), path, config)
    return Corpus.open(path)


@pytest.fixture(scope="session")
def fold() -> Fold:
    return Fold(("S001", "S002"), ("S003",), ("S004",))


@pytest.fixture(scope="session")
def config() -> TrainingConfig:
    """2 epochs on the CPU."""
    detector = DetectorConfig(action_units=ACTION_UNITS, hidden=16, head_hidden=8, context=1)
    return TrainingConfig(detector=detector, num_frames=16, batch_size=4, epochs=2, accelerator="cpu")
