"""The result files of an experiment, written atomically."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from biomechau.corpus import Corpus, Fold
from biomechau.files import staged_directory
from biomechau.training._protocol import package_versions, subject_sets_of
from biomechau.training.evaluation import Evaluation
from biomechau.training.experiments._results import RowResult
from biomechau.training.experiments._table_formats import Table
from biomechau.training.experiments.experiment import PublishedRow, Row
from biomechau.training.experiments.plan import CARD, Job, Plan
from biomechau.training.run import save_json

TABLE, RESULTS = "table", "results.json"


@dataclass(frozen=True)
class Failure:
    """A training that failed.

    Attributes:
        job: the training.
        reason: of the failure.
    """

    job: Job
    reason: str

    def __str__(self) -> str:
        return f"{self.job}: {self.reason}"


def write_experiment(
    plan: Plan, found: Mapping[Job, Evaluation], failures: Sequence[Failure] = (), command: str = ""
) -> None:
    """Write ``table.csv``, ``table.md``, ``table.tex``, ``results.json`` and ``card.json``.

    Args:
        plan: of the experiment.
        found: results of finished trainings.
        failures: trainings that failed.
        command: command line that started it.

    Raises:
        OSError: the folder cannot be written.
    """
    table = experiment_table(plan, found, failures)
    with staged_directory(plan.out) as stage:
        for suffix, text in (("csv", table.csv()), ("md", table.markdown()), ("tex", table.latex())):
            (stage / f"{TABLE}.{suffix}").write_text(text, encoding="utf-8")
        save_json({"runs": [_result(job, found[job]) for job in plan.jobs if job in found]}, stage / RESULTS)
        save_json(_card(plan, found, failures, command), stage / CARD)


def experiment_table(plan: Plan, found: Mapping[Job, Evaluation], failures: Sequence[Failure] = ()) -> Table:
    """The table of the finished trainings; its notes say how many are missing."""
    results = {
        row.name: RowResult({(j.seed, j.fold): e for j, e in found.items() if j.row is row}) for row in plan.rows
    }
    units = _units(plan) if plan.experiment.units else ()
    planned = len(plan.jobs) // max(1, sum(not row.missing for row in plan.rows))
    columns = _Columns(plan, units)
    rows = []
    for row in plan.rows:
        result, other = results[row.name], results.get(row.against)
        rows.append(columns.trained(row, result, other, "" if row.missing else f"{len(result.evaluations)}/{planned}"))
    for row, evaluations in plan.always_positive.items():
        corpus = "" if len(plan.setup.corpora) == 1 else f"{row.heading.split(':')[0]}: "
        rows.append(columns.cells(f"{corpus}always on", "", RowResult(evaluations)))
    rows += [columns.published(published) for published in plan.experiment.published]
    return Table(_title(plan, found), columns.headings, tuple(rows), tuple(_notes(plan, found, failures)))


class _Columns:
    """The columns of a table, and the cells of a row."""

    def __init__(self, plan: Plan, units: Sequence[int]) -> None:
        self.units = units
        self.seeds = len(plan.seeds) > 1
        self.folds = len(plan.folds_of(0)) > 1
        self.gains = any(row.against for row in plan.rows)
        # Coders of another corpus may be more or less strict, which shifts the best threshold.
        self.crossed = any(row.train_on != row.test_on for row in plan.rows)

    @property
    def headings(self) -> tuple[str, ...]:
        names = ["row", "runs", *(f"AU{unit}" for unit in self.units), "Avg."]
        names += ["sd"] if self.seeds else []
        names += ["folds"] if self.folds else []
        names += ["gain"] if self.gains else []
        names += ["gain sd"] if self.gains and self.seeds else []
        names += ["MCC", "own threshold", "best F1", "AUC"] if self.crossed else ["MCC"]
        return (*names, "force r", "error/std")

    def trained(self, row: Row, result: RowResult, other: RowResult | None, runs: str) -> tuple[str, ...]:
        gain = (None, None) if other is None else result.gain(other)
        return self.cells(row.heading, runs, result, gain)

    def cells(
        self,
        heading: str,
        runs: str,
        result: RowResult,
        gain: tuple[float | None, float | None] = (None, None),
    ) -> tuple[str, ...]:
        f1, mean = result.units, result.means
        cells = [heading, runs, *(_percent(f1.get(unit)) for unit in self.units), _percent(mean.f1)]
        cells += [_percent(result.spread)] if self.seeds else []
        cells += [" / ".join(map(_percent, result.by_fold.values()))] if self.folds else []
        cells += [_percent(gain[0], sign="+")] if self.gains else []
        cells += [_percent(gain[1])] if self.gains and self.seeds else []
        cells += [_percent(mean.mcc)]
        cells += [_percent(mean.threshold_f1), _percent(mean.best_f1), _percent(mean.auc)] if self.crossed else []
        return (*cells, _number(result.force_recovery), _number(result.reconstruction))

    def published(self, row: PublishedRow) -> tuple[str, ...]:
        cells = {f"AU{unit}": f"{f1:.1f}" for unit, f1 in row.f1.items()}
        cells |= {"row": row.method + ("*" if row.note else ""), "Avg.": f"{row.average:.1f}"}
        return tuple(cells.get(heading, "") for heading in self.headings)


def _units(plan: Plan) -> tuple[int, ...]:
    """All action units of the rows, in order of appearance."""
    units = (unit for row in plan.rows if not row.missing for unit in plan.config(row).detector.action_units)
    return tuple(dict.fromkeys(units))


def _title(plan: Plan, found: Mapping[Job, Evaluation]) -> str:
    done = f"{len(found)} of {len(plan.jobs)} runs"
    return f"{plan.experiment.title}: F1 and MCC [%], setting {plan.setup.setting}, {done}"


def _notes(plan: Plan, found: Mapping[Job, Evaluation], failures: Sequence[Failure]) -> list[str]:
    unfinished = len(plan.jobs) - len(found) - len(failures)
    sources = ", ".join(str(corpus.provenance.get("source", "unknown source")) for corpus in plan.setup.corpora)
    notes = [
        f"corpus: {sources}; {plan.setup.num_folds} folds without a subject in common; "
        f"{len(plan.seeds)} {'seed' if len(plan.seeds) == 1 else 'seeds'}",
        _folds_note(plan),
        f"weights: epoch with the {'lowest loss' if plan.setup.base.selection == 'loss' else 'highest mean F1'} on "
        + ("subjects cut from those to train on" if plan.setup.validation == "train" else "the test subjects"),
        f"partial: {unfinished} of {len(plan.jobs)} runs are still to be done" if unfinished else "",
        *(f"{row.heading}: not trained, {row.missing}" for row in plan.rows if row.missing),
        *(f"failed: {failure}" for failure in failures),
        *plan.experiment.notes,
        *(f"{row.method}: {row.source}{f'; * {row.note}' if row.note else ''}" for row in plan.experiment.published),
    ]
    return [note for note in notes if note]


def _folds_note(plan: Plan) -> str:
    """Which folds are trained; empty if all of them are."""
    of_seeds = {seed: " and ".join(map(str, plan.folds_of(seed))) for seed in plan.seeds}
    if all(len(plan.folds_of(seed)) == plan.setup.num_folds for seed in plan.seeds):
        return ""
    if plan.setup.folds is not None:
        return f"of these, fold {of_seeds[0]}"
    return f"one fold per seed: {', '.join(f'fold {fold} for seed {seed}' for seed, fold in of_seeds.items())}"


def _result(job: Job, evaluation: Evaluation) -> dict[str, Any]:
    summary = evaluation.summary()
    return {"row": job.row.name, "seed": job.seed, "fold": job.fold, **summary, "protocol": summary["protocol"]["test"]}


def _card(plan: Plan, found: Mapping[Job, Evaluation], failures: Sequence[Failure], command: str) -> dict[str, Any]:
    fixed = plan.fixed()
    return {
        **fixed,
        "title": plan.experiment.title,
        "runs": f"{len(found)} of {len(plan.jobs)}",
        "failed": [str(failure) for failure in failures],
        "seeds": list(plan.seeds),
        "folds_of_seeds": {str(seed): list(plan.folds_of(seed)) for seed in plan.seeds},
        "rows": {row.name: _described(row) for row in plan.rows},
        "data": [_data(corpus, folds) for corpus, folds in zip(plan.setup.corpora, plan.folds, strict=True)],
        "notes": _notes(plan, found, failures),
        "published": [
            {"method": row.method, "source": row.source, "note": row.note} for row in plan.experiment.published
        ],
        "command": command,
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": package_versions(),
    }


def _described(row: Row) -> dict[str, Any]:
    return {
        "heading": row.heading,
        "changes": dict(row.changes),
        "against": row.against,
        "missing": row.missing,
        "train_on": row.train_on,
        "test_on": row.test_on,
    }


def _data(corpus: Corpus, folds: Mapping[int, Fold]) -> dict[str, Any]:
    return {
        "name": corpus.path.name,
        "subjects": len(corpus.subjects),
        "sequences": len(corpus),
        "frames": sum(corpus.frames.values()),
        "fps": corpus.fps,
        "action_units": list(corpus.action_units),
        "tensors": list(corpus.tensor_names),
        "subject_sets": subject_sets_of(corpus, folds[1]),
        "folds": {str(number): asdict(fold) for number, fold in folds.items()},
        "provenance": dict(corpus.provenance),
    }


def _percent(value: float | None, sign: str = "") -> str:
    return "" if value is None else f"{100 * value:{sign}.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
