"""Results of all trainings of a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean, stdev

from biomechau.training.cross_validation import CrossValidation
from biomechau.training.evaluation import Evaluation
from biomechau.training.metrics import MeanScores, mean_of_known


@dataclass(frozen=True)
class RowResult:
    """Means over the folds of each seed, then over the seeds.

    Attributes:
        evaluations: by (seed, fold).
    """

    evaluations: Mapping[tuple[int, int], Evaluation]

    @cached_property
    def seeds(self) -> dict[int, CrossValidation]:
        """The folds of each seed."""
        by_seed: dict[int, dict[int, Evaluation]] = {}
        for (seed, fold), evaluation in sorted(self.evaluations.items()):
            by_seed.setdefault(seed, {})[fold] = evaluation
        return {seed: CrossValidation(folds, same_corpus=True) for seed, folds in by_seed.items()}

    @property
    def units(self) -> dict[int, float | None]:
        """F1 of each action unit by its number."""
        found: dict[int, list[float | None]] = {}
        for seed in self.seeds.values():
            for unit in seed.scores.units:
                found.setdefault(unit.action_unit, []).append(unit.f1)
        return {unit: mean_of_known(values) for unit, values in found.items()}

    @cached_property
    def means(self) -> MeanScores:
        """Over the action units of each seed, then over the seeds; the F1 is "Avg." of the tables."""
        return MeanScores.of(seed.scores.means for seed in self.seeds.values())

    @property
    def spread(self) -> float | None:
        """Standard deviation of the seeds' averages; None for fewer than two."""
        return _stdev([f1 for seed in self.seeds.values() if (f1 := seed.scores.mean_f1) is not None])

    @property
    def by_fold(self) -> dict[int, float | None]:
        """Mean F1 of each fold by its number."""
        found: dict[int, list[float | None]] = {}
        for (_, fold), evaluation in sorted(self.evaluations.items()):
            found.setdefault(fold, []).append(evaluation.scores.mean_f1)
        return {fold: mean_of_known(values) for fold, values in sorted(found.items())}

    @property
    def force_recovery(self) -> float | None:
        """Median r over the muscles; None if no true forces are known."""
        return mean_of_known(scores.force_recovery for scores in self.seeds.values())

    @property
    def reconstruction(self) -> float | None:
        """Error of the decoded motion over its standard deviation; None without physics."""
        return mean_of_known(scores.reconstruction for scores in self.seeds.values())

    def gain(self, other: RowResult) -> tuple[float | None, float | None]:
        """Mean F1 minus that of another row over the seeds and folds of both: mean and standard deviation."""
        common = self.evaluations.keys() & other.evaluations.keys()
        mine, theirs = (RowResult({key: result.evaluations[key] for key in common}).seeds for result in (self, other))
        pairs = [(mine[seed].scores.mean_f1, theirs[seed].scores.mean_f1) for seed in mine]
        gains = [a - b for a, b in pairs if a is not None and b is not None]
        return (fmean(gains) if gains else None), _stdev(gains)


def _stdev(values: list[float]) -> float | None:
    return stdev(values) if len(values) > 1 else None
