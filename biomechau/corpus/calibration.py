"""The neutral face of each subject of a corpus."""

from __future__ import annotations

import torch
from torch import Tensor

from biomechau.corpus.labelled_corpus import LabelledCorpus
from biomechau.physics.neutral import neutral_coefficients


def subject_neutral(corpus: LabelledCorpus, subject: str, percentile: float | None) -> Tensor:
    """The neutral face (K,) of a subject over all their sequences in the corpus; zeros if ``percentile`` is None.

    Raises:
        ValueError: no frame of the subject is valid.
    """
    if percentile is None:
        return torch.zeros(len(corpus.shapes))
    sequences = [corpus[id] for id in corpus.ids_of([subject])]
    frames = torch.cat([sequence.coefficients[sequence.valid] for sequence in sequences])
    if not len(frames):
        raise ValueError(f"{corpus.path}: no frame of subject {subject!r} is valid, so there is no neutral face")
    return neutral_coefficients(frames, percentile)
