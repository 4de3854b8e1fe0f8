"""Predictions of trained detectors for a recording, or for a sequence of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from biomechau.analysis.capture_forces import analyse
from biomechau.analysis.ensemble import Ensemble
from biomechau.analysis.prediction import Prediction
from biomechau.corpus import Corpus, CorpusSequence, FaceSequence
from biomechau.corpus.calibration import NeutralSource, subject_neutral
from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.corpus.driving import drive
from biomechau.corpus.resampling import nearest_frames
from biomechau.models import Detector
from biomechau.physics import PhysicsConfig
from biomechau.physics.neutral import neutral_coefficients
from biomechau.physics.rollout_windows import rollout_windows
from biomechau.rig import FaceRig
from biomechau.rig.names import ChannelMap
from biomechau.training.run import Run

# Frames per forward pass, which bounds the memory for meshes.
_CHUNK = 256


def predict(
    run: Ensemble | Mapping[int, Run] | str | Path,
    sequence: FaceSequence,
    progress: Callable[[int, int], None] | None = None,
    images: Mapping[int, Tensor] | None = None,
    neutral: NeutralSource | None = None,
) -> Prediction:
    """Predict action units and forces of a recording: the mean over the detectors of all folds.

    The recording is processed as a whole, so that no window edges show: probabilities and forces of a frame depend on
    the few frames around it (``DetectorConfig.context``), and not on the decoder's rollout. Runs that subtract a
    neutral face compute it from all valid frames of the recording.

    Args:
        run: folder of a run, or any argument of :meth:`Ensemble.of`.
        sequence: the recording of one person; it is resampled to the frame rate of the detectors.
        progress: called with (frames done, frames in all).
        images: image features (T, D) of the frames of the recording, by the number of the fold, where the head reads
            them (:mod:`biomechau.training.video_features`).
        neutral: where the neutral face is that is subtracted, whatever the run was trained with.

    Raises:
        ValueError: no runs, an unfinished training, image features that the head needs or does not read, no channel
            that drives a shape, or fewer than 3 frames.
        OSError: a file cannot be read.
    """
    ensemble = Ensemble.of(run)
    if ensemble.config.uses_images != bool(images):
        words = "needs image features, which {} does not have; use a video, or a sequence of a corpus that has them"
        words = "reads no image features" if images else words.format(sequence.name)
        raise ValueError(f"the head {ensemble.config.head!r} {words}")
    driven = drive(sequence, ensemble.rig, ensemble.config.physics.fps)
    seen: dict[int, Tensor] = {}
    if images:
        nearest, known = nearest_frames(sequence.timestamp, driven[0].timestamp, 0.5 / driven[0].fps)
        seen = {number: features[nearest] for number, features in images.items()}
        pictured = driven[0].valid & known & sequence.valid[nearest]
        driven = (replace(driven[0], valid=pictured), *driven[1:])
    percentile = ensemble.training.neutral
    at_rest = torch.zeros_like(driven[2][0])
    if neutral is not None:
        at_rest = neutral.neutral(sequence, ensemble.rig)
    elif percentile is not None:
        at_rest = neutral_coefficients(driven[2], percentile, driven[0].valid)
    return _predict(ensemble, _Recording(*driven, at_rest, images=seen), progress)


def with_inverse_forces(
    prediction: Prediction,
    sequence: FaceSequence,
    neutral: NeutralSource | None = None,
    progress: Callable[[int, int], None] | None = None,
    rig: FaceRig | None = None,
) -> Prediction:
    """A prediction that shows the forces of :func:`biomechau.analyse` instead of those of the detectors.

    Args:
        prediction: of a recording.
        sequence: the recording, before it was resampled.
        neutral: where the person's neutral face is, as for :func:`predict`.
        progress: called with (done, total) while solving.
        rig: the face; that of the detectors if not given.

    Raises:
        ValueError: as :func:`biomechau.analyse`.
    """
    ensemble = prediction.ensemble
    config = PhysicsConfig(fps=ensemble.config.physics.fps)
    found = analyse(sequence, ensemble.rig if rig is None else rig, config, progress=progress, neutral=neutral)
    return replace(prediction, inverse=found)


def predict_corpus_sequence(
    run: Ensemble | Mapping[int, Run] | str | Path,
    corpus: Corpus,
    id: str,
    progress: Callable[[int, int], None] | None = None,
) -> Prediction:
    """As :func:`predict`, for a sequence of a corpus, with its labels.

    Runs that subtract a neutral face compute it from all sequences of the subject. The shapes of a corpus of another
    rig drive those of the detectors by name.

    Raises:
        ValueError: as :func:`predict`, a corpus of another rig if the detectors read meshes, one without the image
            features that the head reads, or no such sequence.
        OSError: a file cannot be read.
    """
    return next(predict_corpus_sequences(Ensemble.of(run), corpus, [id], progress))


def predict_corpus_sequences(
    ensemble: Ensemble,
    corpus: Corpus,
    ids: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Prediction]:
    """As :func:`predict_corpus_sequence`, for several sequences in turn.

    Raises:
        ValueError, OSError: as :func:`predict_corpus_sequence`, when a sequence is reached.
    """
    ensemble.check_rig(corpus)
    seen = {n: run.seen_by_head(corpus) for n, run in ensemble.runs.items()} if ensemble.config.uses_images else {}
    for id in ids:
        yield _predict(ensemble, _recorded(ensemble, corpus, seen, id), progress)


@dataclass(frozen=True, eq=False)
class _Recording:
    """Input of the detectors.

    Attributes:
        sequence, channels, labels, subject, trained_on: as of :class:`Prediction`.
        coefficients: (T, K) of all shapes of the rig.
        neutral: (K,) to subtract from them.
        residual: (T, N_in, 3) meshes of the encoder minus those of their coefficients; None for zero.
        images: (T, D) image features by fold; empty if the head reads none.
    """

    sequence: FaceSequence
    channels: ChannelMap
    coefficients: Tensor
    neutral: Tensor
    residual: Tensor | None = None
    images: Mapping[int, Tensor] = field(default_factory=dict)
    labels: Tensor | None = None
    subject: str | None = None
    trained_on: tuple[int, ...] = ()


def _recorded(ensemble: Ensemble, corpus: Corpus, seen: Mapping[int, Corpus], id: str) -> _Recording:
    """A sequence of a corpus; ``seen`` holds the corpus with the image features of each fold."""
    if id not in corpus.ids:
        raise ValueError(f"{corpus.path} has no sequence {id!r}; it has {', '.join(corpus.ids[:3])}, ...")
    recorded, config = corpus[id], ensemble.config
    sequence, channels, coefficients = drive(corpus_recording(recorded, corpus), ensemble.rig, config.physics.fps)
    nearest, known = nearest_frames(recorded.timestamp, sequence.timestamp, 0.5 / sequence.fps)
    images: dict[int, Tensor] = {}
    for number, own in seen.items():
        pictured = own[id]
        assert pictured.image_features is not None
        images[number] = pictured.image_features[nearest]
        if pictured.image_valid is not None:
            sequence = replace(sequence, valid=sequence.valid & pictured.image_valid[nearest])
            known = known & pictured.image_valid[nearest]
    residual, encoder = recorded.vertices_residual, ensemble.encoder
    if encoder is not None and residual is not None:
        residual = residual[nearest][:, encoder.vertices]
    return _Recording(
        sequence,
        channels,
        coefficients,
        subject_neutral(corpus, recorded.subject, ensemble.training.neutral) @ channels.matrix,
        residual,
        images,
        _labels(recorded, corpus, config.action_units)[nearest].masked_fill(~known[:, None], UNKNOWN),
        recorded.subject,
        ensemble.trained_on_subject(corpus, recorded.subject),
    )


def _predict(ensemble: Ensemble, recording: _Recording, progress: Callable[[int, int], None] | None) -> Prediction:
    shapes, dtype = ensemble.dynamics.shape_indices, ensemble.dynamics.mass.dtype
    coefficients, neutral = recording.coefficients[:, shapes].to(dtype), recording.neutral[shapes].to(dtype)
    batch = {"coefficients": coefficients - neutral}
    if recording.residual is not None:
        batch["residual"] = recording.residual.to(dtype)
    found: dict[str, list[Tensor]] = {}
    for done, (number, detector) in enumerate(ensemble.detectors.items()):
        pictured = {"image_features": recording.images[number].to(dtype)} if recording.images else {}
        inputs = {**batch, **pictured}
        own = _predict_frames(detector, inputs, done, len(ensemble.folds), progress)
        if "forces" in own:
            own["reconstructed"] = _reconstruct(detector, inputs, ensemble.training.num_frames)
        for name, values in own.items():
            found.setdefault(name, []).append(values)
    mean = {name: torch.stack(values).mean(0) for name, values in found.items()}
    return Prediction(
        ensemble,
        recording.sequence,
        recording.channels,
        coefficients,
        neutral,
        mean["probabilities"],
        mean.get("forces"),
        mean.get("reconstructed"),
        recording.labels,
        recording.subject,
        recording.trained_on,
        mean.get("side_probabilities"),
        mean.get("intensities"),
        mean.get("side_intensities"),
    )


@torch.no_grad()
def _predict_frames(
    detector: Detector,
    batch: Mapping[str, Tensor],
    fold: int,
    num_folds: int,
    progress: Callable[[int, int], None] | None,
) -> dict[str, Tensor]:
    """Probabilities and forces of all frames by name, in chunks with context: the same as for the whole recording."""
    frames, around = len(batch["coefficients"]), max(detector.config.context, 1)
    found: dict[str, list[Tensor]] = {}
    for start in range(0, frames, _CHUNK):
        stop = min(start + _CHUNK, frames)
        first = max(start - around, 0)
        output = detector(_frames_of(detector, batch, slice(first, stop + around)))
        own = slice(start - first, stop - first)
        for name in ("probabilities", "side_probabilities", "intensities", "side_intensities", "forces"):
            if (values := getattr(output, name)) is not None:
                found.setdefault(name, []).append(values[own])
        if progress is not None:
            progress(fold * frames + stop, num_folds * frames)
    return {name: torch.cat(values) for name, values in found.items()}


@torch.no_grad()
def _reconstruct(detector: Detector, batch: Mapping[str, Tensor], length: int) -> Tensor:
    """The motion of the decoder (T, K'), window by window as in training."""
    rebuilt = batch["coefficients"].clone()
    for frames in rollout_windows(len(rebuilt), length).split(max(_CHUNK // length, 1)):
        decoded = detector(_frames_of(detector, batch, frames)).coefficients
        assert decoded is not None
        for window, motion in zip(frames, decoded, strict=True):
            rebuilt[window[1:]] = motion[1:]
    return rebuilt


def _frames_of(detector: Detector, batch: Mapping[str, Tensor], frames: slice | Tensor) -> dict[str, Tensor]:
    """The batch of some frames."""
    some = {name: tensor[frames] for name, tensor in batch.items()}
    if detector.encoder is not None and (residual := some.pop("residual", None)) is not None:
        basis = detector.dynamics.blendshapes[:, detector.encoder.vertices]
        some["displacements"] = torch.tensordot(some["coefficients"], basis, 1) + residual
    return some


def corpus_recording(sequence: CorpusSequence, corpus: Corpus) -> FaceSequence:
    """A sequence of a corpus as a recording."""
    return FaceSequence(
        name=sequence.id,
        coefficients=sequence.coefficients,
        channels=corpus.shapes,
        timestamp=sequence.timestamp,
        valid=sequence.valid,
        fps=corpus.fps,
        source=f"sequence {sequence.id} of {corpus.path.name}",
    )


def _labels(sequence: CorpusSequence, corpus: Corpus, action_units: tuple[int, ...]) -> Tensor:
    """Labels (T, R) of the detector's units, -1 if the corpus does not have them or the frame is not valid."""
    labels = torch.full((len(sequence), len(action_units)), UNKNOWN, dtype=torch.int8)
    for column, unit in enumerate(action_units):
        if unit in corpus.action_units:
            labels[:, column] = sequence.labels[:, corpus.action_units.index(unit)]
    return labels.masked_fill(~sequence.valid[:, None], UNKNOWN)
