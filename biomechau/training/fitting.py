"""A configuration made to fit a corpus."""

from __future__ import annotations

from dataclasses import replace

from biomechau.corpus import Corpus
from biomechau.training.config import TrainingConfig


def fitted(config: TrainingConfig, corpus: Corpus, units_given: bool = False) -> TrainingConfig:
    """The configuration with the frame rate of a corpus and, unless others are given, its action units.

    With a head that reads images, the number of image features is the corpus's too, unless it is given.
    """
    detector, usual = config.detector, TrainingConfig().detector
    if not units_given:
        detector = replace(detector, action_units=corpus.action_units)
    if detector.physics.fps == usual.physics.fps:
        detector = replace(detector, physics=replace(detector.physics, fps=corpus.fps))
    if detector.uses_images and not detector.num_image_features:
        detector = replace(detector, num_image_features=corpus.num_image_features)
    return replace(config, detector=detector)
