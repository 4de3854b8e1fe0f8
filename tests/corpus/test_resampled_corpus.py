"""ResampledCorpus: signals are interpolated, labels are those of the nearest frame."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from biomechau.corpus import Corpus, CorpusSequence, CorpusWriter, LabelledCorpus, ResampledCorpus, Windows
from biomechau.corpus.corpus import file_sha256
from biomechau.corpus.image_features import FEATURES, BackboneCard, ImageFeatures
from biomechau.corpus.manifest import MANIFEST
from biomechau.rig import FaceRig

UNITS = (1, 12)


def sequence(
    id: str, frames: int, fps: float, shapes: int, dropped: slice = slice(0), invalid: slice = slice(0)
) -> CorpusSequence:
    """A slow wave; AU1 is on from 1 s, AU12 in even frames."""
    keep = torch.ones(frames, dtype=torch.bool)
    keep[dropped] = False
    time = torch.arange(frames, dtype=torch.float64)[keep] / fps
    wave = torch.sin(2 * math.pi * time).float()
    valid = torch.ones(frames, dtype=torch.bool)
    valid[invalid] = False
    labels = torch.stack([time >= 1, torch.arange(frames)[keep] % 2 == 0], 1).to(torch.int8)
    forces = torch.stack([wave, 2 * wave], 1)
    return CorpusSequence(
        id, "S001", "T1", wave[:, None].repeat(1, shapes), labels, time, valid[keep], muscle_forces=forces
    )


def written(path: Path, rig: FaceRig, fps: float, *sequences: CorpusSequence) -> Corpus:
    with CorpusWriter(path, rig, UNITS, fps, muscles=("a", "b")) as writer:
        for one in sequences:
            writer.add(one)
    return Corpus.open(path)


@pytest.mark.parametrize(("recorded", "fps", "count"), [(30.0, 25.0, 50), (20.0, 25.0, 49)])
def test_onto_another_rate(tmp_path: Path, tiny_rig: FaceRig, recorded: float, fps: float, count: int) -> None:
    corpus = written(tmp_path / "c", tiny_rig, recorded, sequence("a", int(2 * recorded), recorded, 8))
    resampled = ResampledCorpus(corpus, fps)
    (found,) = resampled
    assert resampled.fps == fps
    assert resampled.frames == {"S001": len(found)} == {"S001": count}
    wave = torch.sin(2 * math.pi * found.timestamp).float()
    inner = slice(5, -5)  # a filter does not know what comes before the first and after the last frame
    torch.testing.assert_close(found.coefficients[inner, 0], wave[inner], atol=0.03, rtol=0)
    assert found.muscle_forces is not None
    torch.testing.assert_close(found.muscle_forces[inner, 1], 2 * wave[inner], atol=0.06, rtol=0)
    nearest = (found.timestamp * recorded).round().long()
    assert torch.equal(found.labels[:, 1], (nearest % 2 == 0).to(torch.int8))
    on = (found.timestamp >= 1 - 0.5 / recorded).to(torch.int8)
    assert torch.equal(found.labels[:, 0], on)
    assert found.valid.all()
    assert resampled.label_counts()[1].tolist() == [count, count]


def test_what_was_not_recorded_is_not_known(tmp_path: Path, tiny_rig: FaceRig) -> None:
    """One second is missing, in another sequence the frames are there but not valid, in a third none is valid."""
    sequences = (
        sequence("gap", 90, 30.0, 8, dropped=slice(30, 60)),
        sequence("hole", 90, 30.0, 8, invalid=slice(30, 60)),
        sequence("none", 90, 30.0, 8, invalid=slice(None)),
    )
    resampled = ResampledCorpus(written(tmp_path / "c", tiny_rig, 30.0, *sequences), 25.0)
    inside = slice(26, 49)
    for id in ("gap", "hole"):
        found = resampled[id]
        assert not found.label_mask[inside].any()
        assert not found.valid[inside].any()
        assert (found.labels[inside] == -1).all()
        assert found.label_mask[:24].all()
        assert found.label_mask[51:].all()
    assert not resampled["none"].valid.any()
    assert (resampled["none"].labels == -1).all()
    assert torch.isfinite(resampled["none"].coefficients).all()


def test_a_rate_must_be_positive(tmp_path: Path, tiny_rig: FaceRig) -> None:
    corpus = written(tmp_path / "c", tiny_rig, 30.0, sequence("a", 30, 30.0, 8))
    with pytest.raises(ValueError, match="fps must be positive"):
        ResampledCorpus(corpus, 0)


def test_cached_image_features_are_those_of_the_nearest_frame(tmp_path: Path, tiny_rig: FaceRig) -> None:
    path = tmp_path / "c"
    written(path, tiny_rig, 50.0, sequence("a", 100, 50.0, 8))
    card = BackboneCard("net", "0", 2)
    features = torch.arange(200, dtype=torch.float32).view(100, 2)
    pictured = torch.arange(100) % 4 != 0
    ImageFeatures.start(path / FEATURES, card, file_sha256(path / MANIFEST)).write("a", features, pictured)
    resampled = ResampledCorpus(Corpus.open(path), 25.0)
    (found,) = resampled
    assert resampled.num_image_features == 2
    assert resampled.backbone == card
    assert {"image_features", "image_valid"} < set(resampled.tensor_names)
    assert found.image_features is not None
    assert found.image_valid is not None
    assert torch.equal(found.image_features, features[::2])
    assert torch.equal(found.image_valid, pictured[::2])


def test_features_of_a_fold_are_chosen_before_the_frame_rate(tmp_path: Path, tiny_rig: FaceRig) -> None:
    """A resampled corpus has one frame rate: nothing of it leads back to the frames that were recorded."""
    path = tmp_path / "c"
    written(path, tiny_rig, 50.0, *(sequence(id, 100, 50.0, 8) for id in ("a", "b", "c")))
    corpus = Corpus.open(path)
    subjects = corpus.subjects
    for number, seen in enumerate((subjects[:1], subjects), 1):
        card = BackboneCard("net", str(number), 2, subjects=seen, corpus_sha256=corpus.sha256)
        features = ImageFeatures.start(path / FEATURES / f"fold{number}", card, corpus.sha256)
        for id in corpus.ids:
            features.write(id, torch.full((100, 2), float(number)), torch.ones(100, dtype=torch.bool))
    corpus = Corpus.open(path)
    assert "image_features" not in ResampledCorpus(corpus, 25.0).tensor_names
    chosen = corpus.with_features(corpus.feature_cache.sets[0])
    assert chosen.backbone == corpus.feature_cache.sets[0].card
    resampled = ResampledCorpus(chosen, 25.0)
    assert not isinstance(resampled, Corpus)
    assert not hasattr(resampled, "of_fold")
    for found in resampled:
        assert found.image_features is not None
        assert found.image_features.shape == (50, 2)
        assert bool((found.image_features == 1).all())
    assert len(Windows(resampled, num_frames=25)) == 2 * len(corpus)


def test_every_corpus_says_what_rig_and_description_it_has() -> None:
    assert {"rig", "sha256", "num_image_features"} <= LabelledCorpus.__abstractmethods__
    with pytest.raises(TypeError, match="abstract"):
        LabelledCorpus(Path(), None)  # type: ignore[abstract, arg-type]


def test_times_that_no_grid_can_hold_are_named(tmp_path: Path, tiny_rig: FaceRig) -> None:
    late = sequence("a", 60, 30.0, 8)
    late.timestamp[-1] = 1e300
    with pytest.raises(ValueError, match=r"c.sequences.a\.safetensors: frame 59: 2\.5e\+301 frames at 25 per second"):
        ResampledCorpus(written(tmp_path / "c", tiny_rig, 30.0, late), 25.0)
