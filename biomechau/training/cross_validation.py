"""Evaluation of all folds of a run, and their means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from biomechau.corpus import Corpus
from biomechau.files import staged_directory
from biomechau.training.evaluation import (
    INTENSITIES,
    RECOVERY,
    SCORES,
    SIDES,
    SUMMARY,
    Evaluation,
    evaluate,
    side_rows,
    write_csv,
)
from biomechau.training.intensity_scores import IntensityScore
from biomechau.training.metrics import ActionUnitScores, mean_of_known
from biomechau.training.run import Run, save_json


@dataclass(frozen=True)
class CrossValidation:
    """Scores of all folds of a run.

    Attributes:
        evaluations: by fold number.
        same_corpus: whether each fold was tested on its own test subjects of the training corpus, rather than on all
            subjects of another corpus.
    """

    evaluations: Mapping[int, Evaluation]
    same_corpus: bool

    @cached_property
    def scores(self) -> ActionUnitScores:
        """Means over the folds."""
        return ActionUnitScores.mean(evaluation.scores for evaluation in self.evaluations.values())

    @cached_property
    def sides(self) -> dict[str, ActionUnitScores]:
        """Means over the folds of the scores of each side, under "left" and "right"; empty if no side was labelled."""
        folds = [evaluation.sides for evaluation in self.evaluations.values() if evaluation.sides]
        return {side: ActionUnitScores.mean(each[side] for each in folds) for side in (folds[0] if folds else ())}

    @cached_property
    def intensities(self) -> tuple[IntensityScore, ...]:
        """Means over the folds of the agreement with coded intensities; empty if none were coded."""
        folds = [evaluation.intensities for evaluation in self.evaluations.values() if evaluation.intensities]
        return tuple(map(IntensityScore.mean, zip(*folds, strict=True)))

    @property
    def force_recovery(self) -> float | None:
        """Mean over the folds of the median r over the muscles; None if no true forces are known."""
        return mean_of_known(e.forces.median for e in self.evaluations.values() if e.forces is not None)

    @property
    def reconstruction(self) -> float | None:
        """Mean over the folds of the reconstruction error over the standard deviation; None without physics."""
        return mean_of_known(evaluation.reconstruction for evaluation in self.evaluations.values())

    def summary(self) -> dict[str, Any]:
        """The contents of ``evaluation.json``."""
        return {
            "tested_on": "the test subjects of each fold" if self.same_corpus else "all subjects of another corpus",
            "means": "of each action unit over the folds, then over the action units",
            **self.scores.means.summary(),
            "force_recovery_median_r": self.force_recovery,
            "reconstruction_error_over_std": self.reconstruction,
            "action_units": [asdict(unit) for unit in self.scores.units],
            "sides": {side: [asdict(unit) for unit in scores.units] for side, scores in self.sides.items()},
            "intensities": list(map(asdict, self.intensities)),
            "folds": {str(number): evaluation.summary() for number, evaluation in self.evaluations.items()},
        }

    def save(self, folder: str | Path) -> None:
        """Write ``action_unit_scores.csv`` and ``evaluation.json``, ``side_scores.csv``, ``intensity_scores.csv`` and
        ``force_recovery.csv`` if sides, intensities and forces are known.

        The tables have a column ``fold`` with its number, or ``mean``.

        Raises:
            OSError: the folder cannot be written.
        """
        rows = [{"fold": number, **asdict(unit)} for number, e in self.evaluations.items() for unit in e.scores.units]
        rows += [{"fold": "mean", **asdict(unit)} for unit in self.scores.units]
        with staged_directory(folder) as stage:
            write_csv(stage / SCORES, list(rows[0]), rows)
            folds = {**{str(number): e.sides for number, e in self.evaluations.items()}, "mean": self.sides}
            if sides := [{"fold": fold, **row} for fold, each in folds.items() for row in side_rows(each)]:
                write_csv(stage / SIDES, list(sides[0]), sides)
            of_folds = {
                **{str(number): e.intensities for number, e in self.evaluations.items()},
                "mean": self.intensities,
            }
            if strong := [{"fold": fold, **asdict(unit)} for fold, units in of_folds.items() for unit in units]:
                write_csv(stage / INTENSITIES, list(strong[0]), strong)
            if recovered := self._recovered():
                write_csv(stage / RECOVERY, list(recovered[0]), recovered)
            save_json(self.summary(), stage / SUMMARY)

    def _recovered(self) -> list[dict[str, Any]]:
        """Rows of ``force_recovery.csv``."""
        found = {str(number): e.forces for number, e in self.evaluations.items() if e.forces is not None}
        by_fold = {fold: dict(zip(forces.muscles, forces.r, strict=True)) for fold, forces in found.items()}
        muscles = dict.fromkeys(muscle for rs in by_fold.values() for muscle in rs)
        means = {muscle: mean_of_known(rs.get(muscle) for rs in by_fold.values()) for muscle in muscles}
        return [
            {"fold": fold, "muscle": muscle, "r": r}
            for fold, rs in {**by_fold, "mean": means}.items()
            for muscle, r in rs.items()
        ]


def cross_validate(
    runs: Mapping[int, Run], corpus: Corpus, progress: Callable[[int, int], None] | None = None
) -> CrossValidation:
    """Evaluate every fold on its test subjects, or on all subjects of a corpus other than the training corpus.

    Args:
        runs: by fold number, see :func:`biomechau.training.open_runs`.
        corpus: the training corpus, or another.
        progress: called with (folds done, folds in all).

    Raises:
        ValueError: no runs, an unfinished training, or a corpus that does not match.
        OSError: a file cannot be read.
    """
    if not runs:
        raise ValueError("there are no runs to evaluate")
    same = all(run.trained_on(corpus) for run in runs.values())
    evaluations = {}
    for number, run in runs.items():
        evaluations[number] = evaluate(run, corpus, None if same else corpus.subjects)
        if progress is not None:
            progress(len(evaluations), len(runs))
    return CrossValidation(evaluations, same)
