"""How well intensities of action units agree with the coders', beside what the probability alone would say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.training.metrics import mean_of_known


@dataclass(frozen=True)
class IntensityScore:
    """Agreement with the coded intensity of one action unit over all frames.

    Attributes:
        action_unit: its number.
        icc: ICC(3,1) of Shrout and Fleiss (1979), the consistency of two raters: (MSB - MSE) / (MSB + MSE); None if the
            coded intensity is constant.
        r: Pearson correlation, 0 for a constant prediction; None as ``icc``.
        mae: mean absolute error [intensity], None if no intensity is known.
        scaled_icc, scaled_r, scaled_mae: the same of the baseline, the probability times the factor that fits the coded
            intensities of these frames best, an advantage that the detector does not have.
        known_frames: number of known intensities.
    """

    action_unit: int
    icc: float | None
    r: float | None
    mae: float | None
    scaled_icc: float | None
    scaled_r: float | None
    scaled_mae: float | None
    known_frames: int

    @classmethod
    def mean(cls, scores: Sequence[IntensityScore]) -> IntensityScore:
        """The mean of one unit over folds or seeds, each value over those that have it; known frames are summed."""
        names = [each.name for each in fields(cls) if each.name not in ("action_unit", "known_frames")]
        values = {name: mean_of_known(getattr(score, name) for score in scores) for name in names}
        return cls(scores[0].action_unit, known_frames=sum(score.known_frames for score in scores), **values)


def intensity_scores(
    intensities: Tensor, truth: Tensor, probabilities: Tensor, action_units: Sequence[int]
) -> tuple[IntensityScore, ...]:
    """Scores of all frames together; intensities that are not known do not count.

    Args:
        intensities: of the detector, (frames, I) in [0, 5].
        truth: of the coders, (frames, I), -1 if unknown.
        probabilities: of the same units, (frames, I).
        action_units: I numbers.

    Raises:
        ValueError: tensors of different shapes.
    """
    if not intensities.shape == truth.shape == probabilities.shape == (len(truth), len(action_units)):
        raise ValueError(
            f"intensities, truth and probabilities must have shape (frames, {len(action_units)}), got "
            f"{tuple(intensities.shape)}, {tuple(truth.shape)} and {tuple(probabilities.shape)}"
        )
    columns = zip(*(tensor.double().T for tensor in (intensities, truth, probabilities)), strict=True)
    return tuple(_score(unit, *tensors) for unit, tensors in zip(action_units, columns, strict=True))


def mean_intensity_scores(scores: Iterable[IntensityScore]) -> dict[str, Any]:
    """Means over action units: ``icc``, ``r``, ``mae``, and those of the baseline."""
    scores = tuple(scores)
    names = ("icc", "r", "mae", "scaled_icc", "scaled_r", "scaled_mae")
    return {name: mean_of_known(getattr(score, name) for score in scores) for name in names}


def _score(unit: int, found: Tensor, truth: Tensor, probability: Tensor) -> IntensityScore:
    known = truth != UNKNOWN
    found, truth, probability = found[known], truth[known], probability[known]
    scale = (probability @ truth) / probability.square().sum().clamp_min(torch.finfo(truth.dtype).tiny)
    return IntensityScore(
        unit, *_agreement(found, truth), *_agreement(scale * probability, truth), known_frames=len(truth)
    )


def _agreement(found: Tensor, truth: Tensor) -> tuple[float | None, float | None, float | None]:
    """ICC(3,1), r and mean absolute error of values (frames,)."""
    if not len(truth):
        return None, None, None
    error = float((found - truth).abs().mean())
    x, y = found - found.mean(), truth - truth.mean()
    if not bool(y.any()):
        return None, None, error
    # Of two raters MSB - MSE is twice the covariance, MSB + MSE the sum of the variances.
    covariance, spread = float(x @ y), float(x @ x + y @ y)
    size = float(x.norm() * y.norm())
    return 2 * covariance / spread, covariance / size if size else 0.0, error
