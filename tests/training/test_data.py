"""Batches, statistics and weights come from the subjects and columns they should."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from biomechau.corpus import Corpus, CorpusWriter, Fold
from biomechau.models import Detector, DetectorConfig
from biomechau.physics import PhysicsConfig
from biomechau.rig import Distribution, FaceRig, Muscles
from biomechau.rig.names import mirror_order
from biomechau.training import CorpusData, DetectorWindows, TrainingConfig, positive_weights
from biomechau.training.data import EpochOrder


def _detector(corpus: Corpus, config: DetectorConfig) -> Detector:
    return Detector(corpus.rig, Distribution.from_rig(corpus.rig), config)


def test_windows_have_the_detectors_columns(corpus: Corpus, config: TrainingConfig) -> None:
    detector = _detector(corpus, config.detector)
    windows = DetectorWindows(corpus, ["S002"], detector, num_frames=16)
    sequence = corpus[corpus.ids_of(["S002"])[0]]
    batch = next(iter(DataLoader(windows, 3)))
    assert len(windows) == 6
    shapes = [corpus.shapes.index(name) for name in detector.dynamics.shape_names]
    torch.testing.assert_close(batch["coefficients"].flatten(0, 1), sequence.coefficients[:, shapes])
    units = [corpus.action_units.index(unit) for unit in config.detector.action_units]
    torch.testing.assert_close(batch["labels"].flatten(0, 1), sequence.labels[:, units])
    assert sequence.side_labels is not None
    torch.testing.assert_close(batch["side_labels"].flatten(0, 1), sequence.side_labels[:, units])
    torch.testing.assert_close(batch["muscle_forces"].flatten(0, 1), sequence.muscle_forces)
    assert sequence.muscle_forces is not None
    true = batch["true_forces"].flatten(0, 1)
    known = {
        muscle: column for column, muscle in enumerate(detector.dynamics.muscles.names) if muscle in corpus.muscles
    }
    assert len(known) > 20
    for muscle, column in known.items():
        torch.testing.assert_close(true[:, column], sequence.muscle_forces[:, corpus.muscles.index(muscle)])
    assert int(true.isfinite().all(0).sum()) == len(known)
    assert detector(batch).logits.shape == (3, 16, 4)


def test_statistics_are_those_of_the_training_subjects(corpus: Corpus, fold: Fold, config: TrainingConfig) -> None:
    detector = _detector(corpus, config.detector)
    CorpusData(corpus, fold, detector, num_frames=16)
    shapes = [corpus.shapes.index(name) for name in detector.dynamics.shape_names]
    frames = torch.cat([corpus[id].coefficients[:, shapes] for id in corpus.ids_of(fold.train)])
    # And of their mirror images.
    frames = torch.cat([frames, frames[:, mirror_order(detector.dynamics.shape_names)]])
    torch.testing.assert_close(detector.statistics.mean, frames.mean(0))
    torch.testing.assert_close(detector.statistics.scale, frames.std(0, correction=0) + 0.03)


def test_the_order_of_the_windows_follows_from_seed_and_epoch(
    corpus: Corpus, fold: Fold, config: TrainingConfig
) -> None:
    def order(seed: int, epoch: int) -> torch.Tensor:
        data = CorpusData(corpus, fold, _detector(corpus, config.detector), 16, batch_size=4, seed=seed)
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        return torch.cat([batch["coefficients"] for batch in loader])

    assert torch.equal(order(0, 1), order(0, 1))
    assert not torch.equal(order(0, 1), order(0, 2))
    assert not torch.equal(order(0, 1), order(1, 1))


def test_every_batch_is_full_and_the_processes_share_it() -> None:
    alone = EpochOrder(11, batch_size=4, seed=5)
    both = [EpochOrder(11, 4, 5, processes=2, rank=rank) for rank in range(2)]
    for epoch in range(2):
        for order in (alone, *both):
            order.set_epoch(epoch)
        windows = list(alone)
        assert (len(windows), len(alone), len(both[0])) == (12, 12, 6)
        assert sorted(windows[:11]) == list(range(11))
        assert windows[11] == windows[0]
        first, second = map(list, both)
        for batch in range(3):
            together = {*first[2 * batch : 2 * batch + 2], *second[2 * batch : 2 * batch + 2]}
            assert together == set(windows[4 * batch : 4 * batch + 4])
        assert first == windows[::2]


def test_few_windows_fill_a_batch() -> None:
    assert sorted(EpochOrder(2, batch_size=5, seed=0)) in ([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])


def test_the_neutral_face_is_that_of_all_valid_frames_of_a_subject(
    corpus: Corpus, config: TrainingConfig, tmp_path: Path
) -> None:
    valid = torch.arange(48) % 3 > 0
    with CorpusWriter(tmp_path / "gaps", corpus.rig, corpus.action_units, corpus.fps) as writer:
        for sequence in corpus:
            writer.add(replace(sequence, valid=valid, muscle_forces=None))
    gaps = Corpus.open(tmp_path / "gaps")
    detector = _detector(corpus, config.detector)
    windows = DetectorWindows(gaps, ["S002"], detector, num_frames=48, neutral=10)
    shapes = [corpus.shapes.index(name) for name in detector.dynamics.shape_names]
    sequences = [gaps[id].coefficients[:, shapes] for id in gaps.ids_of(["S002"])]
    neutral = torch.cat([c[valid] for c in sequences]).quantile(0.1, dim=0)
    for window, c in zip(windows, sequences, strict=True):  # type: ignore[arg-type]
        torch.testing.assert_close(window["coefficients"], c - neutral)
    windows.fit_statistics(detector)
    mean = torch.cat([c[valid] for c in sequences]).mean(0) - neutral
    mirrored = mean[mirror_order(detector.dynamics.shape_names)]
    torch.testing.assert_close(detector.statistics.mean, (mean + mirrored) / 2)
    with CorpusWriter(tmp_path / "none", corpus.rig, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S001_T1"], valid=torch.zeros(48, dtype=torch.bool), muscle_forces=None))
    with pytest.raises(ValueError, match="no frame of subject 'S001' is valid"):
        DetectorWindows(Corpus.open(tmp_path / "none"), ["S001"], detector, 48, neutral=5)


def test_meshes_are_more_than_their_coefficients(corpus: Corpus, config: TrainingConfig, tmp_path: Path) -> None:
    residual = torch.randn(48, corpus.rig.num_vertices, 3).half()
    with CorpusWriter(tmp_path / "meshes", corpus.rig, corpus.action_units, corpus.fps) as writer:
        writer.add(replace(corpus["S001_T1"], vertices_residual=residual, muscle_forces=None))
    meshes = Corpus.open(tmp_path / "meshes")
    settings = replace(config.detector, head="geometry", num_input_vertices=200, filters=(4, 4))
    detector = _detector(corpus, settings)
    assert detector.encoder is not None
    windows = DetectorWindows(meshes, ["S001"], detector, num_frames=48)
    kept = detector.encoder.vertices
    basis, c = corpus.rig.select(detector.dynamics.shape_names).blendshapes, windows[0]["coefficients"]
    expected = torch.einsum("tk,knd->tnd", c, basis[:, kept]) + residual[:, kept].float()
    torch.testing.assert_close(windows[0]["displacements"], expected)
    windows.fit_statistics(detector)
    mean = detector.encoder.views(expected).flatten(0, 1).mean(0)
    torch.testing.assert_close(detector.encoder.normalisation.mean, mean, atol=1e-5, rtol=1e-4)


def test_positive_weights() -> None:
    # (1 - p) / p is 9 and clipped to 4, 1, and 1 / 9 clipped to 0.3
    found = positive_weights(torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64))
    torch.testing.assert_close(found, torch.tensor([4**0.7, 1.0, 0.3**0.7], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"must lie in \(0, 1\], got \[0.0\]"):
        positive_weights(torch.zeros(1))


def test_a_corpus_that_does_not_fit(corpus: Corpus, config: TrainingConfig, tiny_rig: FaceRig, tmp_path: Path) -> None:
    settings = config.detector
    with pytest.raises(ValueError, match="no labels for AU5; it has those of AU1, AU2"):
        DetectorWindows(corpus, ["S001"], _detector(corpus, replace(settings, action_units=(5, 12))), 16)
    with pytest.raises(ValueError, match="25 frames per second, but the detector's physics 30"):
        DetectorWindows(corpus, ["S001"], _detector(corpus, replace(settings, physics=PhysicsConfig(fps=30.0))), 16)
    image = replace(settings, head="image", num_image_features=3)
    with pytest.raises(ValueError, match="no image features"):
        DetectorWindows(corpus, ["S001"], _detector(corpus, image), 16)
    muscles = Muscles.facs().match(tiny_rig.names).muscles
    other = Detector(tiny_rig, Distribution.from_rig(tiny_rig, muscles), settings)
    with pytest.raises(ValueError, match="made with another rig"):
        DetectorWindows(corpus, ["S001"], other, 16)
