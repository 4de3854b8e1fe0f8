"""The thresholds of the action units, chosen on the validation subjects."""

from __future__ import annotations

import torch
from torch.utils.data import DataLoader

from biomechau.corpus import LabelledCorpus
from biomechau.models import Detector
from biomechau.rig.action_unit_names import column_name
from biomechau.training.data import DetectorWindows
from biomechau.training.metrics import THRESHOLD, best_thresholds, known_labels
from biomechau.training.run import Run

# Few people say little about the best threshold: it counts as if this many more had theirs at one half. Chosen on
# simulated people.
_MORE_PEOPLE = 8
# Differences of F1 that say nothing.
_TOLERANCE = 0.02


@torch.no_grad()
def choose_thresholds(detector: Detector, run: Run, corpus: LabelledCorpus) -> dict[str, float]:
    """The contents of ``thresholds.json``: of each action unit the threshold with the highest F1 on validation.

    Of those within 0.02 of the highest F1 the one nearest to one half, drawn towards one half where validation subjects
    are few.

    Args:
        detector: trained, in evaluation mode.
        run: its options and subjects.
        corpus: of the training, with the image features that the head reads.
    """
    config = run.config
    windows = DetectorWindows(corpus, run.fold.validation, detector, config.num_frames, neutral=config.neutral)
    found = []
    for batch in DataLoader(windows, config.batch_size):
        valid = batch["valid"]
        found.append((detector(batch).probabilities[valid], known_labels(batch["labels"], valid)[valid]))
    probabilities, labels = (torch.cat(tensors) for tensors in zip(*found, strict=True))
    units = detector.config.action_units
    weight = len(run.fold.validation) / (len(run.fold.validation) + _MORE_PEOPLE)
    drawn = [THRESHOLD + weight * (best - THRESHOLD) for best in best_thresholds(probabilities, labels, _TOLERANCE)]
    return dict(zip(map(column_name, units), drawn, strict=True))
