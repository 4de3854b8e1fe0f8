"""A corpus resampled to another frame rate."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from biomechau.corpus.corpus import Corpus
from biomechau.corpus.corpus_sequence import UNKNOWN, CorpusSequence
from biomechau.corpus.face_sequence import FaceSequence, check_frame_rate
from biomechau.corpus.labelled_corpus import DerivedCorpus
from biomechau.corpus.manifest import SequenceEntry
from biomechau.corpus.resampling import even_grid, nearest_frames
from biomechau.file_errors import naming

# Continuous signals, which are interpolated; other tensors are those of the nearest frame.
_SIGNALS = ("coefficients", "muscle_forces")
_LABELS = ("labels", "side_labels", "intensities", "side_intensities")


class ResampledCorpus(DerivedCorpus):
    """A corpus whose sequences are resampled to a frame rate when they are read, see :meth:`FaceSequence.resample`.

    Coefficients and muscle forces are interpolated, and low-pass filtered first if the new rate is lower. Labels, image
    features and mesh residuals are those of the nearest recorded frame. Labels are unknown if that frame is not valid,
    or farther away than half a frame at the lower rate.

    Args:
        corpus: to resample, with the image features to use.
        fps: new frame rate [1/s].

    Raises:
        ValueError: the rate is not positive, or a sequence file does not fit; the message names the file.
        OSError: a file cannot be read.
    """

    def __init__(self, corpus: Corpus, fps: float) -> None:
        check_frame_rate(fps)
        entries = tuple(
            entry._replace(frames=_num_frames(corpus, entry.id, fps)) for entry in corpus.manifest.sequences
        )
        super().__init__(corpus, replace(corpus.manifest, fps=float(fps), sequences=entries))

    def __getitem__(self, id: str) -> CorpusSequence:
        """Read one sequence and resample it.

        Raises:
            KeyError, ValueError, OSError: see :class:`biomechau.corpus.Corpus`.
        """
        recorded = self.recorded[id]
        tensors = _resampled(recorded, self.recorded.fps, self.fps)
        return CorpusSequence(recorded.id, recorded.subject, recorded.task, **tensors)

    def _labels(self, entry: SequenceEntry) -> tuple[Tensor, Tensor]:
        sequence = self[entry.id]
        return sequence.labels, sequence.valid


def _num_frames(corpus: Corpus, id: str, fps: float) -> int:
    with naming(corpus.file_of(id)):
        return len(even_grid(corpus.timestamp(id), fps))


def _resampled(sequence: CorpusSequence, recorded_fps: float, fps: float) -> dict[str, Tensor]:
    grid = torch.from_numpy(even_grid(sequence.timestamp, fps))
    nearest, near = nearest_frames(sequence.timestamp, grid, 0.5 / min(recorded_fps, fps) + 1e-6)
    tensors = {name: tensor[nearest] for name, tensor in sequence.tensors.items()}
    known = near & sequence.valid[nearest]
    tensors["timestamp"] = grid
    for name in _LABELS:
        if name in tensors:
            tensors[name][~known] = UNKNOWN
    if not sequence.valid.any():
        return tensors
    for name in _SIGNALS:
        if name in tensors:
            signal = getattr(sequence, name)
            found = _on_grid(sequence, signal, recorded_fps).resample(fps)
            tensors |= {name: found.coefficients.view(len(grid), *signal.shape[1:]), "valid": found.valid}
    return tensors


def _on_grid(sequence: CorpusSequence, signal: Tensor, fps: float) -> FaceSequence:
    columns = signal.flatten(1)
    names = tuple(map(str, range(columns.shape[1])))
    return FaceSequence(sequence.id, columns, names, sequence.timestamp, sequence.valid, fps)
