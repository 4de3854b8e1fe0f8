"""Scores of action units, muscle forces and motion, each computed once over all frames of a fold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from statistics import fmean, median
from typing import NamedTuple

import torch
from torch import Tensor

from biomechau.corpus.corpus_sequence import UNKNOWN

# An action unit is on where its probability is above this, as in the literature.
THRESHOLD = 0.5


@dataclass(frozen=True)
class ActionUnitScore:
    """Scores of a detector on one action unit.

    Attributes:
        action_unit: its number.
        f1: 2 TP / (2 TP + FP + FN); None if no known label is on.
        mcc: Matthews correlation coefficient, 0 for a constant prediction; None for constant labels.
        always_positive_f1: F1 of saying "on" in every frame; None for a mean of folds none of which has an F1.
        positive_rate: share of the known labels that are on; 0 if none is known.
        known_frames: number of known labels.
        best_f1: F1 at the threshold that is best on the test labels themselves, an upper bound that does not depend on
            how strict the coders are. None as ``f1``, and if only counts are known.
        auc: area under the receiver operating characteristic, 0.5 for chance, independent of threshold and positive
            rate; None for constant labels, and if only counts are known.
        threshold: of the detector, chosen on its validation subjects; None if the scores are of none.
        threshold_f1: F1 at that threshold.
    """

    action_unit: int
    f1: float | None
    mcc: float | None
    always_positive_f1: float | None
    positive_rate: float
    known_frames: int
    best_f1: float | None = None
    auc: float | None = None
    threshold: float | None = None
    threshold_f1: float | None = None


@dataclass(frozen=True)
class MeanScores:
    """Means of the values of :class:`ActionUnitScore` over action units, folds or seeds.

    Each is the mean over those that have the value, None if none has; the baseline counts where there is an F1.
    """

    f1: float | None
    mcc: float | None
    always_positive_f1: float | None
    best_f1: float | None
    auc: float | None
    threshold_f1: float | None

    @classmethod
    def of(cls, scores: Iterable[ActionUnitScore | MeanScores]) -> MeanScores:
        """The means of some scores."""
        scores = tuple(scores)
        counted = {"always_positive_f1": [score for score in scores if score.f1 is not None]}
        names = [field.name for field in fields(cls)]
        return cls(*(mean_of_known(getattr(score, name) for score in counted.get(name, scores)) for name in names))

    def summary(self) -> dict[str, float | None]:
        """The means by their names in result files: ``mean_f1``, ``mean_mcc``, ..."""
        return {f"mean_{name}": value for name, value in asdict(self).items()}


@dataclass(frozen=True)
class ActionUnitScores:
    """Scores of R action units on one fold, or the means of several folds."""

    units: tuple[ActionUnitScore, ...]

    @classmethod
    def mean(cls, folds: Iterable[ActionUnitScores]) -> ActionUnitScores:
        """The mean of each action unit over some folds, as in the literature: first each fold's F1, then the mean.

        Each value is the mean over the folds that have it, None if none has; known frames are summed.

        Raises:
            ValueError: folds of different numbers of action units.
        """
        return cls(
            tuple(
                ActionUnitScore(
                    units[0].action_unit,
                    positive_rate=fmean(unit.positive_rate for unit in units),
                    known_frames=sum(unit.known_frames for unit in units),
                    threshold=mean_of_known(unit.threshold for unit in units),
                    **asdict(MeanScores.of(units)),
                )
                for units in zip(*(fold.units for fold in folds), strict=True)
            )
        )

    @property
    def without_positives(self) -> tuple[int, ...]:
        """Numbers of the action units that are never on: they have no F1 and count in no mean."""
        return tuple(unit.action_unit for unit in self.units if unit.f1 is None)

    @cached_property
    def means(self) -> MeanScores:
        """Means over the action units."""
        return MeanScores.of(self.units)

    @property
    def mean_f1(self) -> float | None:
        """Mean F1 over the action units that have one ("Avg." of the tables); None if none has."""
        return self.means.f1


@dataclass(frozen=True)
class ForceRecovery:
    """How well muscle forces follow the true ones.

    Attributes:
        muscles: identifiers of M muscles.
        r: Pearson correlation of each, 0 for a constant force; None for a constant true force.
    """

    muscles: tuple[str, ...]
    r: tuple[float | None, ...]

    @property
    def median(self) -> float | None:
        """Median r over the muscles that have one; None if none has."""
        known = [r for r in self.r if r is not None]
        return median(known) if known else None

    @property
    def never_used(self) -> tuple[str, ...]:
        """Muscles whose true force is constant."""
        return tuple(muscle for muscle, r in zip(self.muscles, self.r, strict=True) if r is None)


def action_unit_scores(
    probabilities: Tensor,
    labels: Tensor,
    action_units: Sequence[int],
    valid: Tensor | None = None,
    thresholds: Sequence[float] | None = None,
) -> ActionUnitScores:
    """Scores of all frames together at the threshold 0.5; labels that are not known do not count.

    Args:
        probabilities: p(y = 1), (..., R) in [0, 1].
        labels: (..., R), 1 on, 0 off, -1 unknown.
        action_units: R numbers.
        valid: (...) bool, frames that count; all if not given.
        thresholds: R thresholds at which F1 is computed as well (:func:`best_thresholds`).

    Raises:
        TypeError: probabilities that are not floating point, or a mask that is not bool.
        ValueError: tensors of the wrong shape, no frames, a probability outside [0, 1] or a label other than these.
    """
    labels = known_labels(labels, valid)
    num_units = len(action_units)
    if not probabilities.dtype.is_floating_point:
        raise TypeError(f"probabilities must be floating point, got {probabilities.dtype}")
    if probabilities.shape != labels.shape or probabilities.shape[-1:] != (num_units,) or not labels.numel():
        raise ValueError(
            f"probabilities and labels must have shape (..., {num_units}) with at least one frame, "
            f"got {tuple(probabilities.shape)} and {tuple(labels.shape)}"
        )
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("probabilities must lie in [0, 1]")
    wrong = (labels != 0) & (labels != 1) & (labels != UNKNOWN)
    if bool(wrong.any()):
        raise ValueError(f"labels must be 1, 0 or -1 (unknown), got {labels[wrong][0].item()}")
    scores = scores_of_counts(confusion_counts(probabilities, labels), action_units)
    columns = (tensor.reshape(-1, num_units).T for tensor in (probabilities, labels))
    ranked = zip(scores.units, map(_ranking, *columns), strict=True)
    units = [replace(unit, best_f1=ranking.best_f1, auc=ranking.auc) for unit, ranking in ranked]
    if thresholds is None:
        return ActionUnitScores(tuple(units))
    at = scores_of_counts(confusion_counts(probabilities, labels, thresholds), action_units)
    chosen = zip(units, thresholds, at.units, strict=True)
    return ActionUnitScores(
        tuple(replace(unit, threshold=float(threshold), threshold_f1=other.f1) for unit, threshold, other in chosen)
    )


def best_thresholds(probabilities: Tensor, labels: Tensor, tolerance: float = 0.0) -> list[float]:
    """The threshold of each action unit with the highest F1, midway between two probabilities that occur.

    The one nearest to 0.5 of several; 0.5 for a unit whose known labels are all the same.

    Args:
        probabilities: p(y = 1), (frames, R).
        labels: (frames, R), 1 on, 0 off, -1 unknown.
        tolerance: difference of F1 from the highest that makes none.
    """
    return [_ranking(*columns, tolerance).threshold for columns in zip(probabilities.T, labels.T, strict=True)]


def confusion_counts(probabilities: Tensor, labels: Tensor, thresholds: Sequence[float] | None = None) -> Tensor:
    """TP, FP, FN and TN of each action unit, (R, 4) int64; counts of batches add up to those of the whole.

    Args:
        probabilities: (..., R).
        labels: (..., R), 1 on, 0 off, -1 unknown.
        thresholds: R probabilities above which a unit is on; 0.5 if not given.
    """
    limits = THRESHOLD if thresholds is None else probabilities.new_tensor(thresholds)
    on, true, false = probabilities > limits, labels == 1, labels == 0
    cells = (on & true, on & false, ~on & true, ~on & false)
    return torch.stack([cell.flatten(0, -2).sum(0) for cell in cells], -1)


def scores_of_counts(counts: Tensor, action_units: Sequence[int]) -> ActionUnitScores:
    """Scores from the TP, FP, FN and TN of each action unit, (R, 4).

    Raises:
        ValueError: counts of the wrong shape.
    """
    if counts.shape != (len(action_units), 4):
        raise ValueError(f"counts must have shape ({len(action_units)}, 4), got {tuple(counts.shape)}")
    # Python's integers: the product under the root of the MCC of a large corpus exceeds 64 bits.
    return ActionUnitScores(tuple(_score(unit, *row) for unit, row in zip(action_units, counts.tolist(), strict=True)))


def known_labels(labels: Tensor, valid: Tensor | None) -> Tensor:
    """Labels (..., R) with -1 (unknown) in the frames that are not valid (...).

    Raises:
        TypeError, ValueError: a mask of the wrong dtype or shape.
    """
    if valid is None:
        return labels
    if valid.dtype != torch.bool:
        raise TypeError(f"valid must be bool, got {valid.dtype}")
    if valid.shape != labels.shape[:-1]:
        raise ValueError(f"valid must have shape {tuple(labels.shape[:-1])}, got {tuple(valid.shape)}")
    return labels.masked_fill(~valid[..., None], UNKNOWN)


def force_recovery(forces: Tensor, truth: Tensor, muscles: Sequence[str]) -> ForceRecovery:
    """Pearson correlation of each muscle's force with the true one over all frames.

    Args:
        forces: (T, M).
        truth: (T, M), any unit.
        muscles: M identifiers.

    Raises:
        ValueError: wrong shapes, fewer than 2 frames, or values that are not finite.
    """
    if forces.ndim != 2 or forces.shape != truth.shape or forces.shape[1] != len(muscles) or len(forces) < 2:
        raise ValueError(
            f"forces and truth must have shape (T, {len(muscles)}) with T >= 2, "
            f"got {tuple(forces.shape)} and {tuple(truth.shape)}"
        )
    for name, tensor in (("forces", forces), ("truth", truth)):
        if not bool(tensor.isfinite().all()):
            raise ValueError(f"{name} must be finite")
    moves = [(tensor.amax(0) > tensor.amin(0)).tolist() for tensor in (forces, truth)]
    x, y = ((tensor.double() - tensor.double().mean(0)) for tensor in (forces, truth))
    # Each is first divided by its norm, so that small forces do not underflow.
    r = (_unit(x) * _unit(y)).sum(0).clamp(-1, 1).tolist()
    known = (None if not true else value if found else 0.0 for value, found, true in zip(r, *moves, strict=True))
    return ForceRecovery(tuple(muscles), tuple(known))


def relative_error(c: Tensor, reconstructed: Tensor) -> float:
    """Root mean square of c - c~ over the standard deviation of c, both over all frames and shapes together.

    The standard deviation is taken about the mean of each shape; the constant mean face has an error of 1.

    Args:
        c: coefficients, (T, K).
        reconstructed: c~ of the same shape.

    Raises:
        ValueError: wrong shapes, values that are not finite, or constant coefficients.
    """
    if c.ndim != 2 or c.shape != reconstructed.shape:
        raise ValueError(
            f"c and reconstructed must have the same shape (T, K), got {tuple(c.shape)} and "
            f"{tuple(reconstructed.shape)}"
        )
    c = c.double()
    error, spread = (c - reconstructed.double()).norm(), (c - c.mean(0)).norm()
    if not bool(error.isfinite() & spread.isfinite()):
        raise ValueError("c and reconstructed must be finite")
    if not spread > 0:
        raise ValueError("c is constant, so there is no motion to compare the error with")
    return float(error / spread)


def mean_of_known(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def _score(action_unit: int, tp: int, fp: int, fn: int, tn: int) -> ActionUnitScore:
    positive, negative = tp + fn, tn + fp
    known = positive + negative
    f1 = 2 * tp / (2 * tp + fp + fn) if positive else None
    mcc = None
    if positive and negative:
        below = (tp + fp) * positive * negative * (tn + fn)
        mcc = (tp * tn - fp * fn) / math.sqrt(below) if below else 0.0
    rate = positive / known if known else 0.0
    return ActionUnitScore(action_unit, f1, mcc, 2 * rate / (1 + rate), rate, known)


class _Ranking(NamedTuple):
    """Best threshold of one action unit, F1 at it, and area under the curve."""

    threshold: float = THRESHOLD
    best_f1: float | None = None
    auc: float | None = None


def _ranking(probabilities: Tensor, labels: Tensor, tolerance: float = 0.0) -> _Ranking:
    """The scores of one action unit that do not depend on its threshold; inputs are (frames,)."""
    known = labels != UNKNOWN
    probabilities, order = probabilities[known].sort(descending=True)
    on = (labels[known][order] == 1).double()
    positive, negative = float(on.sum()), float((1 - on).sum())
    if not positive:
        return _Ranking()
    # A threshold cannot separate frames of equal probability.
    last = torch.ones_like(on, dtype=torch.bool)
    last[:-1] = probabilities[1:] != probabilities[:-1]
    tp, fp = on.cumsum(0)[last], (1 - on).cumsum(0)[last]
    f1 = 2 * tp / (tp + fp + positive)
    if not negative:
        return _Ranking(best_f1=float(f1.max()))
    # The frames above each threshold are those that count so far; below the lowest probability all are on.
    seen = probabilities[last].double()
    between = (seen + torch.cat([seen[1:], seen.new_zeros(1)])) / 2
    best = between[f1 >= f1.max() * (1 - 1e-12) - tolerance]
    zero = tp.new_zeros(1)
    area = float(torch.trapezoid(torch.cat([zero, tp]), torch.cat([zero, fp])))
    nearest = best[(best - THRESHOLD).abs().argmin()]
    return _Ranking(float(nearest), float(f1.max()), area / (positive * negative))


def _unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=0).clamp_min(torch.finfo(x.dtype).tiny)
