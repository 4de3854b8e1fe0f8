"""The scores of a run on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table

from biomechau.commands.terminal import listing, new_table

if TYPE_CHECKING:
    from biomechau.training.cross_validation import CrossValidation


def scores_table(scores: CrossValidation) -> Table:
    """F1 of each action unit in per cent: mean, every fold, MCC, and what to compare them with."""
    table = new_table("F1 and MCC of each action unit [%]")
    table.add_column("")
    folds, means = scores.evaluations.values(), scores.scores
    numbers = [f"fold {number}" for number in scores.evaluations] if len(scores.evaluations) > 1 else []
    for heading in ("F1", *numbers, "MCC", "always on", "rate"):
        table.add_column(heading, justify="right")
    for row, unit in enumerate(means.units):
        by_fold = [evaluation.scores.units[row].f1 for evaluation in folds] if numbers else []
        values = [unit.f1, *by_fold, unit.mcc, unit.always_positive_f1, unit.positive_rate]
        table.add_row(f"AU{unit.action_unit:02d}", *map(_percent, values))
    table.add_section()
    by_fold = [evaluation.scores.mean_f1 for evaluation in folds] if numbers else []
    mean = means.means
    table.add_row("mean", *map(_percent, [mean.f1, *by_fold, mean.mcc, mean.always_positive_f1]), "", style="bold")
    return table


def scores_notes(scores: CrossValidation) -> list[str]:
    """What was tested on what, forces and reconstruction, units without positives: one line each."""
    evaluations = scores.evaluations
    tested = [len(evaluation.card["test"]["subjects"]) for evaluation in evaluations.values()]
    frames = [evaluation.card["test"]["frames"] for evaluation in evaluations.values()]
    where = "their own test subjects" if scores.same_corpus else "all subjects of a corpus that was not trained on"
    recovered = {n: e.forces.median for n, e in evaluations.items() if e.forces is not None}
    rebuilt = {n: e.reconstruction for n, e in evaluations.items() if e.reconstruction is not None}
    without = {f"AU{unit:02d}" for e in evaluations.values() for unit in e.scores.without_positives}
    selection = {evaluation.card["selection"] for evaluation in evaluations.values()}
    subject_sets = {evaluation.card["subject_sets"] for evaluation in evaluations.values()}
    rates = {test["resampled_from_fps"]: test["fps"] for e in evaluations.values() if "fps" in (test := e.card["test"])}
    notes = [
        f"{len(evaluations)} fold(s) tested on {where}: {_sequence(tested)} subjects, {_sequence(frames)} frames",
        *(f"resampled from {recorded:g} to {fps:g} frames per second" for recorded, fps in rates.items()),
        f"subject sets: {', '.join(sorted(subject_sets))}; weights: {', '.join(sorted(selection))}; threshold 0.5",
        f"muscle forces: median r {_with_folds(scores.force_recovery, recovered)}" if recovered else "",
        f"reconstruction error / std: {_with_folds(scores.reconstruction, rebuilt)}" if rebuilt else "",
        listing("without a positive label in some fold, left out of its means", sorted(without)),
    ]
    return [note for note in notes if note]


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _sequence(values: Iterable[int]) -> str:
    return " / ".join(f"{value:,}" for value in values)


def _with_folds(mean: float | None, by_fold: Mapping[int, float | None]) -> str:
    words = ["none" if value is None else f"{value:.2f}" for value in (mean, *by_fold.values())]
    return f"{words[0]} ({' / '.join(words[1:])})" if len(by_fold) > 1 else words[0]
