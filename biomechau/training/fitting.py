"""A configuration made to fit a corpus."""

from __future__ import annotations

from dataclasses import replace

from biomechau.corpus import Corpus
from biomechau.training.config import TrainingConfig


def fitted(config: TrainingConfig, corpus: Corpus, units_given: bool = False) -> TrainingConfig:
    """The configuration with the frame rate of a corpus and, unless others are given, its action units."""
    detector, usual = config.detector, TrainingConfig().detector
    if not units_given:
        detector = replace(detector, action_units=corpus.action_units)
    if detector.physics.fps == usual.physics.fps:
        detector = replace(detector, physics=replace(detector.physics, fps=corpus.fps))
    return replace(config, detector=detector)
