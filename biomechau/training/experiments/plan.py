"""The trainings of an experiment, and their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from biomechau.corpus import Corpus, Fold, check_folds, corpus_folds
from biomechau.file_errors import quote, reason
from biomechau.training.evaluation import SUMMARY, Evaluation
from biomechau.training.experiments.experiment import Experiment, Row, Setup, changed
from biomechau.training.metrics import scores_of_counts
from biomechau.training.run import CONFIG, Run, fold_folder, has_begun
from biomechau.training.training_config import TrainingConfig

CARD = "card.json"
# Settings that must not change when an experiment is continued.
_FIXED = ("experiment", "setting", "corpora", "action_units", "num_folds", "fold_seed", "validation", "base")


@dataclass(frozen=True, eq=False)
class Job:
    """One training and its test.

    Attributes:
        row: of the table.
        seed: of the training.
        fold: its number, from 1.
        run: the training.
        train_on: folder of the training corpus.
        test_on: folder of a corpus to test on all of its subjects; None to test on the test subjects of the fold.
    """

    row: Row
    seed: int
    fold: int
    run: Run
    train_on: Path
    test_on: Path | None

    def __str__(self) -> str:
        return f"{self.row.name}, seed {self.seed}, fold {self.fold}"

    def evaluation(self) -> Evaluation | None:
        """The result, None if the job is not finished.

        Raises:
            ValueError: the file is not an evaluation; the message names it.
        """
        return Evaluation.load(self.run.path) if (self.run.path / SUMMARY).is_file() else None


@dataclass(frozen=True)
class Plan:
    """All trainings of an experiment.

    Attributes:
        experiment: to run.
        setup: its corpora and options.
        out: its folder; trainings are stored in ``out/runs/<row>/seed<s>/fold<n>``.

    Raises:
        ValueError: an unknown row, too few subjects for the folds, or ``out`` contains the experiment with another
            configuration or corpus.
        OSError: a file cannot be read.
    """

    experiment: Experiment
    setup: Setup
    out: Path

    def __post_init__(self) -> None:
        known = [row.name for row in self.experiment.rows]
        for name in self.setup.rows or ():
            if name not in known:
                raise ValueError(f"{self.experiment.name} has no row {name!r}; its rows are {', '.join(known)}")
        self._check_out()

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """The rows of the table."""
        wanted = self.setup.rows
        return tuple(row for row in self.experiment.rows if wanted is None or row.name in wanted)

    @cached_property
    def seeds(self) -> range:
        """Seeds of the trainings."""
        return range(self.experiment.seeds if self.setup.seeds is None else self.setup.seeds)

    @cached_property
    def folds(self) -> tuple[dict[int, Fold], ...]:
        """Folds of each corpus by number, from 1; the same for all seeds."""
        found = []
        for corpus in self.setup.corpora:
            folds = corpus_folds(corpus, self.setup.num_folds, self.setup.fold_seed, validation=self.setup.validation)
            check_folds(folds, corpus)
            found.append(dict(enumerate(folds, 1)))
        return tuple(found)

    def folds_of(self, seed: int) -> tuple[int, ...]:
        """Numbers of the folds that are trained with a seed."""
        if self.setup.folds is not None:
            return self.setup.folds
        every = tuple(range(1, self.setup.num_folds + 1))
        return (every[seed % len(every)],) if self.experiment.fold_of_seed else every

    @cached_property
    def jobs(self) -> tuple[Job, ...]:
        """The trainings, row by row."""
        return tuple(
            self._job(row, seed, number)
            for row in self.rows
            if not row.missing
            for seed in self.seeds
            for number in self.folds_of(seed)
        )

    def config(self, row: Row, seed: int = 0) -> TrainingConfig:
        """Training options of a row."""
        config = self.setup.config(self.setup.corpora[row.train_on])
        return replace(changed(config, row.changes), seed=seed)

    @cached_property
    def always_positive(self) -> dict[Row, dict[tuple[int, int], Evaluation]]:
        """Scores of predicting "on" in every frame, by seed and fold, for one row of each pair of corpora."""
        pairs = {(row.train_on, row.test_on): row for row in self.rows if not row.missing}
        return {row: self._always_positive(row) for row in pairs.values()}

    def fixed(self) -> dict[str, Any]:
        """Settings that must not change when the experiment is continued, as JSON values."""
        values = {
            "experiment": self.experiment.name,
            "setting": self.setup.setting,
            "corpora": [_identity(corpus) for corpus in self.setup.corpora],
            "action_units": self.setup.action_units,
            "num_folds": self.setup.num_folds,
            "fold_seed": self.setup.fold_seed,
            "validation": self.setup.validation,
            "base": self.setup.base.to_json(),
        }
        return json.loads(json.dumps(values))

    def _job(self, row: Row, seed: int, number: int) -> Job:
        corpora = self.setup.corpora
        corpus, fold = corpora[row.train_on], self.folds[row.train_on][number]
        folder = fold_folder(self.out / "runs" / row.name / f"seed{seed}", number)
        run = Run.new(folder, self.config(row, seed), fold, corpus)
        begun = (folder / CONFIG).is_file() and has_begun(folder)
        if begun and Run.open(folder).to_json() != run.to_json():
            raise ValueError(
                f"{folder} is a run with another configuration, fold or corpus; choose another folder with --out"
            )
        test_on = None if row.test_on == row.train_on else corpora[row.test_on].path
        return Job(row, seed, number, run, corpus.path, test_on)

    def _always_positive(self, row: Row) -> dict[tuple[int, int], Evaluation]:
        corpus = self.setup.corpora[row.test_on]
        units = self.config(row).detector.action_units
        columns = [corpus.action_units.index(unit) for unit in units]
        found: dict[int, Evaluation] = {}
        for number, fold in self.folds[row.train_on].items():
            positive, known = corpus.label_counts(fold.test if row.test_on == row.train_on else None)
            counts = known.new_zeros(len(units), 4)
            counts[:, 0], counts[:, 1] = positive[columns], (known - positive)[columns]
            found[number] = Evaluation(scores_of_counts(counts, units), None, None, {})
        return {(seed, number): found[number] for seed in self.seeds for number in self.folds_of(seed)}

    def _check_out(self) -> None:
        path = self.out / CARD
        if not path.is_file():
            return
        try:
            card = {"fold_seed": 0, **json.loads(path.read_bytes())}  # 0.1.0 knew no other
            found = {name: card[name] for name in _FIXED}
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"{path}: not the card of an experiment of this version: {reason(error)}") from error
        expected = self.fixed()
        for name in _FIXED:
            if found[name] != expected[name]:
                raise ValueError(
                    f"{self.out} contains the experiment with another {_WORDS[name]}: "
                    f"{_difference(found[name], expected[name])}; choose another folder with --out"
                )


_WORDS = {
    "experiment": "name",
    "setting": "setting",
    "corpora": "corpus",
    "action_units": "choice of action units",
    "num_folds": "number of folds",
    "fold_seed": "seed of the folds",
    "validation": "choice of validation subjects",
    "base": "configuration",
}


def _identity(corpus: Corpus) -> dict[str, str]:
    return {"sha256": corpus.sha256, "rig_sha256": corpus.rig_sha256}


def _difference(found: Any, expected: Any, path: str = "") -> str:
    """The first difference of two JSON values, in words."""
    if isinstance(found, Mapping) and isinstance(expected, Mapping) and found.keys() == expected.keys():
        name = next(name for name in expected if found[name] != expected[name])
        return _difference(found[name], expected[name], f"{path}.{name}" if path else name)
    if isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        return next(_difference(a, b, path) for a, b in zip(found, expected, strict=True) if a != b)
    return f"{path} {quote(found)} there, {quote(expected)} now".strip()
