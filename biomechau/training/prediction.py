"""What trained detectors say of a recording."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from biomechau.corpus import Corpus, CorpusSequence, FaceSequence
from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.corpus.driving import drive
from biomechau.corpus.resampling import nearest_frames
from biomechau.models import Detector
from biomechau.physics.neutral import neutral_coefficients
from biomechau.physics.rollout_windows import rollout_windows
from biomechau.rig.names import ChannelMap
from biomechau.training.data import subject_neutral
from biomechau.training.run import Run

# Frames that a detector sees at once, for the memory that meshes take.
_CHUNK = 256


@dataclass(frozen=True, eq=False)
class Prediction:
    """Action units and muscle forces of T frames, the means over the folds.

    Attributes:
        detector: of the first fold; all have its rig, muscles and options.
        folds: numbers of the folds.
        sequence: what was recorded, at the frame rate of the detector. Frames that are not valid were filled in
            between their neighbours: what is said of them is no measurement.
        channels: how its channels drive the shapes of the rig.
        coefficients: of the detector's shapes, as recorded, (T, K').
        neutral: what was subtracted from them, (K').
        probabilities: p(y = 1), (T, R).
        forces: muscle forces [unit of ``FaceDynamics``], (T, M) or (T, M, 3); None without physics.
        reconstructed: c~, the motion that the decoder gives in windows as long as those of the training, to compare
            with ``coefficients - neutral``, (T, K'); a window starts with the last frame of the one before, and the
            very first frame is given. None without physics.
        labels: 1, 0 and -1 (unknown), (T, R); None where there are none.
        subject: who is seen, where that is known.
        trained_on: folds that were trained on this subject.
    """

    detector: Detector
    folds: tuple[int, ...]
    sequence: FaceSequence
    channels: ChannelMap
    coefficients: Tensor
    neutral: Tensor
    probabilities: Tensor
    forces: Tensor | None
    reconstructed: Tensor | None = None
    labels: Tensor | None = None
    subject: str | None = None
    trained_on: tuple[int, ...] = ()


def predict(
    runs: Mapping[int, Run], sequence: FaceSequence, progress: Callable[[int, int], None] | None = None
) -> Prediction:
    """Run the detectors of all folds on a recording, and take the mean of their probabilities and forces.

    The whole recording is seen at once, so that there are no edges of windows within it: a frame's probabilities and
    forces depend on the few frames around it (``DetectorConfig.context``), and not on the decoder's rollout. Runs that
    calibrate a neutral face take it from all valid frames of the recording.

    Args:
        runs: by the number of their fold, see :func:`biomechau.training.open_runs`.
        sequence: the recording, of one person; it is resampled to the frame rate of the detectors.
        progress: called with (frames done, frames in all).

    Raises:
        ValueError: no runs, a training that has not ended, detectors that need image features, no channel that drives
            a shape, or fewer than 3 frames.
        OSError: a file cannot be read.
    """
    detectors = _detectors(runs)
    detector = next(iter(detectors.values()))
    if detector.config.uses_images:
        raise ValueError(
            f"the head {detector.config.head!r} reads image features, which {sequence.name} does not have; give a "
            "sequence of a corpus that has them"
        )
    sequence, channels, coefficients = drive(sequence, detector.rig, detector.config.physics.fps)
    percentile = next(iter(runs.values())).config.neutral
    neutral = torch.zeros_like(coefficients[0])
    if percentile is not None:
        neutral = neutral_coefficients(coefficients, percentile, sequence.valid)
    return _predict(runs, detectors, sequence, channels, coefficients, neutral, {}, progress)


def predict_corpus_sequence(
    runs: Mapping[int, Run], corpus: Corpus, id: str, progress: Callable[[int, int], None] | None = None
) -> Prediction:
    """As :func:`predict`, of a sequence of a corpus, with its labels.

    Runs that calibrate a neutral face take it from all sequences of the subject.

    Raises:
        ValueError: as :func:`predict`, a corpus of another rig or without the image features that the head reads, or
            no such sequence.
        OSError: a file cannot be read.
    """
    return next(predict_corpus_sequences(runs, corpus, [id], progress))


def predict_corpus_sequences(
    runs: Mapping[int, Run],
    corpus: Corpus,
    ids: Iterable[str],
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Prediction]:
    """As :func:`predict_corpus_sequence`, of several sequences one after the other; the detectors are read once.

    Raises:
        ValueError, OSError: as :func:`predict_corpus_sequence`, when the sequence is reached.
    """
    detectors = _detectors(runs)
    for run in runs.values():
        run.check_rig(corpus)
    for id in ids:
        yield _predict_corpus_sequence(runs, detectors, corpus, id, progress)


def _predict_corpus_sequence(
    runs: Mapping[int, Run],
    detectors: Mapping[int, Detector],
    corpus: Corpus,
    id: str,
    progress: Callable[[int, int], None] | None,
) -> Prediction:
    detector = next(iter(detectors.values()))
    if id not in corpus.ids:
        raise ValueError(f"{corpus.path} has no sequence {id!r}; it has {', '.join(corpus.ids[:3])}, ...")
    recorded = corpus[id]
    config = detector.config
    sequence, channels, coefficients = drive(_as_face_sequence(recorded, corpus), corpus.rig, config.physics.fps)
    nearest, known = nearest_frames(recorded.timestamp, sequence.timestamp, 0.5 / sequence.fps)
    extras: dict[str, Tensor] = {}
    images: dict[int, Tensor] = {}
    for number, run in runs.items():
        if config.uses_images:
            seen = run.seen_by_head(corpus)[id]
            assert seen.image_features is not None
            images[number] = seen.image_features[nearest]
            if seen.image_valid is not None:
                pictured = seen.image_valid[nearest]
                sequence = replace(sequence, valid=sequence.valid & pictured)
                known = known & pictured
    if detector.encoder is not None and recorded.vertices_residual is not None:
        extras["residual"] = recorded.vertices_residual[nearest][:, detector.encoder.vertices]
    neutral = subject_neutral(corpus, recorded.subject, next(iter(runs.values())).config.neutral)
    trained_on = [
        number
        for number, run in runs.items()
        if run.trained_on(corpus) and recorded.subject in {*run.fold.train, *run.fold.validation} - {*run.fold.test}
    ]
    return _predict(
        runs,
        detectors,
        sequence,
        channels,
        coefficients,
        neutral,
        extras,
        progress,
        images,
        labels=_labels(recorded, corpus, config.action_units)[nearest].masked_fill(~known[:, None], UNKNOWN),
        subject=recorded.subject,
        trained_on=tuple(trained_on),
    )


def _detectors(runs: Mapping[int, Run]) -> dict[int, Detector]:
    if not runs:
        raise ValueError("there are no runs to predict with")
    return {number: run.detector() for number, run in runs.items()}


def _predict(
    runs: Mapping[int, Run],
    detectors: Mapping[int, Detector],
    sequence: FaceSequence,
    channels: ChannelMap,
    coefficients: Tensor,
    neutral: Tensor,
    extras: Mapping[str, Tensor],
    progress: Callable[[int, int], None] | None,
    images: Mapping[int, Tensor] | None = None,
    labels: Tensor | None = None,
    subject: str | None = None,
    trained_on: tuple[int, ...] = (),
) -> Prediction:
    detector = next(iter(detectors.values()))
    shapes, dtype = detector.dynamics.shape_indices, detector.dynamics.mass.dtype
    seen, neutral = coefficients[:, shapes].to(dtype), neutral[shapes].to(dtype)
    batch = {"coefficients": seen - neutral, **{name: tensor.to(dtype) for name, tensor in extras.items()}}
    window = next(iter(runs.values())).config.num_frames
    probabilities, forces, rebuilt = [], [], []
    for done, (number, one) in enumerate(detectors.items()):
        own = {"image_features": images[number].to(dtype)} if images else {}
        inputs = {**batch, **own}
        found = _run(one, inputs, done, len(detectors), progress)
        probabilities.append(found[0])
        if found[1] is not None:
            forces.append(found[1])
            rebuilt.append(_reconstruct(one, inputs, window))
    return Prediction(
        detector,
        tuple(detectors),
        sequence,
        channels,
        seen,
        neutral,
        torch.stack(probabilities).mean(0),
        torch.stack(forces).mean(0) if forces else None,
        torch.stack(rebuilt).mean(0) if rebuilt else None,
        labels,
        subject,
        trained_on,
    )


@torch.no_grad()
def _run(
    detector: Detector,
    batch: Mapping[str, Tensor],
    fold: int,
    num_folds: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[Tensor, Tensor | None]:
    """Probabilities and forces of all frames, in chunks that also see the frames around them: as of the whole."""
    frames, around = len(batch["coefficients"]), max(detector.config.context, 1)
    probabilities: list[Tensor] = []
    forces: list[Tensor] = []
    for start in range(0, frames, _CHUNK):
        stop = min(start + _CHUNK, frames)
        first = max(start - around, 0)
        output = detector(_part(detector, batch, slice(first, stop + around)))
        own = slice(start - first, stop - first)
        probabilities.append(output.probabilities[own])
        forces += [] if output.forces is None else [output.forces[own]]
        if progress is not None:
            progress(fold * frames + stop, num_folds * frames)
    return torch.cat(probabilities), torch.cat(forces) if forces else None


@torch.no_grad()
def _reconstruct(detector: Detector, batch: Mapping[str, Tensor], length: int) -> Tensor:
    """The decoder's motion (T, K'), window by window as in training."""
    rebuilt = batch["coefficients"].clone()
    for frames in rollout_windows(len(rebuilt), length).split(max(_CHUNK // length, 1)):
        decoded = detector(_part(detector, batch, frames)).coefficients
        assert decoded is not None
        for window, motion in zip(frames, decoded, strict=True):
            rebuilt[window[1:]] = motion[1:]
    return rebuilt


def _part(detector: Detector, batch: Mapping[str, Tensor], frames: slice | Tensor) -> dict[str, Tensor]:
    """The detector's batch of some frames."""
    part = {name: tensor[frames] for name, tensor in batch.items()}
    if detector.encoder is not None and (residual := part.pop("residual", None)) is not None:
        basis = detector.dynamics.blendshapes[:, detector.encoder.vertices]
        part["displacements"] = torch.tensordot(part["coefficients"], basis, 1) + residual
    return part


def _as_face_sequence(sequence: CorpusSequence, corpus: Corpus) -> FaceSequence:
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
    """Labels (T, R) of the detector's units, -1 where the corpus does not have them or the frame is not valid."""
    labels = torch.full((len(sequence), len(action_units)), UNKNOWN, dtype=torch.int8)
    for column, unit in enumerate(action_units):
        if unit in corpus.action_units:
            labels[:, column] = sequence.labels[:, corpus.action_units.index(unit)]
    return labels.masked_fill(~sequence.valid[:, None], UNKNOWN)
