"""How well a detector tells which side of the face shows an action unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from biomechau.corpus import Corpus
from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.models import Detector
from biomechau.rig.action_unit_names import column_name
from biomechau.rig.names import canonical
from biomechau.training.data import DetectorWindows
from biomechau.training.metrics import action_unit_scores

ABSENT = 1.0  # intensity below which coders see nothing
_WINDOW = 48  # frames of a window, and windows at a time


def one_sided_scores(detector: Detector, corpora: Iterable[Corpus]) -> dict[str, Any]:
    """Scores in the frames in which a unit is on at one side and absent at the other.

    Args:
        detector: in evaluation mode.
        corpora: with labels and intensities of sides; their frames count together.

    Returns:
        Under the column of each unit that has sides: ``auc`` of the probabilities of both sides of these frames, and
        ``rightly``, the share of the frames in which the side that shows the unit is the more probable one; None
        without such frames. ``frames`` is their number. Subjects whose tracker has no channel for one of the sides do
        not count.
    """
    if not detector.paired_units:
        return {}
    parts = [_sides(detector, corpus, subject) for corpus in corpora for subject in corpus.subjects]
    p, on, strength = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    alone = (on == 1) & (on.flip(-1) == 0) & (strength.flip(-1) < ABSENT)
    labels = alone.to(torch.int8).masked_fill(~alone.any(-1, keepdim=True), UNKNOWN)
    units = detector.config.action_units
    # Left and right of a frame are two samples: the detector does not know them apart.
    scores = action_unit_scores(p.movedim(-1, 0).flatten(0, 1), labels.movedim(-1, 0).flatten(0, 1), units).units
    frames, rightly = alone.sum((0, 2)), (alone & (p > p.flip(-1))).sum((0, 2))
    return {
        column_name(unit): {
            "auc": scores[column].auc,
            "rightly": float(rightly[column] / frames[column]) if frames[column] else None,
            "frames": int(frames[column]),
        }
        for column, unit in enumerate(units)
        if unit in detector.paired_units
    }


@torch.no_grad()
def _sides(detector: Detector, corpus: Corpus, subject: str) -> tuple[Tensor, Tensor, Tensor]:
    """Probabilities, labels and intensities of both sides in all valid frames of a subject, each (frames, R, 2).

    Labels of units for which one side has no channel are unknown.
    """
    found = []
    for batch in DataLoader(DetectorWindows(corpus, [subject], detector, _WINDOW), _WINDOW):
        valid, said = batch["valid"], detector(batch).side_probabilities
        found.append([tensor[valid] for tensor in (said, batch["side_labels"], batch["side_intensities"])])
    p, on, strength = (torch.cat(tensors) for tensors in zip(*found, strict=True))
    moving = torch.cat([corpus[id].coefficients for id in corpus.ids_of([subject])]).abs().amax(0) > 0
    followed = [name for name, moves in zip(corpus.shapes, moving.tolist(), strict=True) if moves]
    on[:, ~_both_sides(detector, followed)] = UNKNOWN
    return p, on, strength


def _both_sides(detector: Detector, channels: Iterable[str]) -> Tensor:
    """(R,) bool, units for which each side has one of these channels."""
    followed = set(map(canonical, channels))
    sides = {
        (unit, muscle.side)
        for muscle in detector.dynamics.muscles
        for unit in muscle.action_units
        if followed.intersection(map(canonical, muscle.shapes))
    }
    units = detector.config.action_units
    return torch.tensor([{(unit, "left"), (unit, "right")} <= sides for unit in units])
