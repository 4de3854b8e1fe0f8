"""Training with the labels of a few sequences (Table 4 of the paper); the others are used without labels."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from biomechau.corpus import Corpus

_MAX_DRAWS = 1000


def labelled_sequences(
    corpus: Corpus, subjects: Iterable[str], share: float, action_units: Sequence[int], seed: int = 0
) -> tuple[str, ...]:
    """A random subset of the sequences of some subjects, in which each action unit is on at least once.

    Args:
        corpus: to draw from.
        subjects: whose sequences to draw from.
        share: of the sequences, in (0, 1]; their number is rounded up.
        action_units: numbers of the action units that must have positives.
        seed: of the draw.

    Returns:
        Ids of the sequences, in the order of the corpus.

    Raises:
        ValueError: a share out of range, or no such draw among 1,000.
    """
    if not 0 < share <= 1:
        raise ValueError(f"the share of labelled sequences must lie in (0, 1], got {share}")
    ids = corpus.ids_of(subjects)
    if share == 1:
        return ids
    on = torch.stack([counts_of(corpus, [id], action_units)[0] > 0 for id in ids])
    count = math.ceil(share * len(ids))
    generator = torch.Generator().manual_seed(seed)
    for _ in range(_MAX_DRAWS):
        drawn = torch.randperm(len(ids), generator=generator)[:count].sort().values
        if bool(on[drawn].any(0).all()):
            return tuple(ids[i] for i in drawn.tolist())
    raise ValueError(
        f"no {count} of {len(ids)} sequences of {corpus.path} with positives of every action unit were found in "
        f"{_MAX_DRAWS:,} draws; keep the labels of a larger share than {share:g}"
    )


def counts_of(corpus: Corpus, ids: Iterable[str], action_units: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Number of frames in which each action unit is on, and in which its label is known, each (R,) int64."""
    columns = [corpus.action_units.index(unit) for unit in action_units]
    on = torch.zeros(len(columns), dtype=torch.int64)
    known = on.clone()
    for id in ids:
        positive, labelled = corpus.sequence_counts(id)
        on += positive[columns]
        known += labelled[columns]
    return on, known
