"""An experiment: rows of a table, each of which is a training with some options changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from biomechau.corpus import Corpus
from biomechau.corpus.fold import Validation
from biomechau.training.training_config import TrainingConfig


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table.

    Attributes:
        name: identifier, also of its folder.
        heading: shown in the table.
        changes: options that differ from the experiment's base, by their path in ``TrainingConfig``, as
            ``{"detector.head": "force"}``.
        against: name of the row that it is compared with, run by run; empty for none.
        missing: why it cannot be trained on this corpus; empty if it can.
        train_on: index of the training corpus.
        test_on: index of the test corpus: the training corpus is tested on the test subjects of each fold, another one
            on all of its subjects.
    """

    name: str
    heading: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    against: str = ""
    missing: str = ""
    train_on: int = 0
    test_on: int = 0


@dataclass(frozen=True)
class PublishedRow:
    """Published scores of another method.

    Attributes:
        method: its name.
        source: authors, venue, year, and the table that the scores are taken from.
        f1: by the number of the action unit [%].
        average: as printed [%].
        note: corrections and inconsistencies; empty for none.
    """

    method: str
    source: str
    f1: Mapping[int, float]
    average: float
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """Definition of a table.

    Attributes:
        name: identifier, also of its folder.
        title: of the table.
        rows: to train.
        seeds: default number of seeds.
        fold_of_seed: by default train one fold per seed, fold s mod n + 1 for seed s, instead of all folds.
        units: whether the table shows each action unit.
        published: published rows, for comparison.
        notes: for the card and below the table.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    seeds: int = 1
    fold_of_seed: bool = False
    units: bool = True
    published: tuple[PublishedRow, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """Corpora and options of an experiment.

    Attributes:
        corpora: to train and test on: one, or two if the experiment tests on another corpus.
        base: options that the rows change; action units and frame rate are set to those of the corpus.
        setting: name of the base.
        seeds: number of seeds, 0, 1, ...; that of the experiment if not given.
        folds: fold numbers, from 1; those of the experiment if not given.
        rows: names of the rows; all if not given.
        action_units: to detect; those of the corpus if not given.
        fps, num_image_features: required of the corpora, see :meth:`biomechau.training.TrainingConfig.for_corpus`.
        num_folds: number of folds.
        fold_seed: seed of the folds.
        validation: subjects that select the weights, see :func:`biomechau.corpus.corpus_folds`.

    Raises:
        ValueError: no corpus, fewer than one seed, or a fold out of range.
    """

    corpora: tuple[Corpus, ...]
    base: TrainingConfig = field(default_factory=TrainingConfig)
    setting: str = "ours"
    seeds: int | None = None
    folds: tuple[int, ...] | None = None
    rows: tuple[str, ...] | None = None
    action_units: tuple[int, ...] | None = None
    fps: float | None = None
    num_image_features: int | None = None
    num_folds: int = 3
    fold_seed: int = 0
    validation: Validation = "train"

    def __post_init__(self) -> None:
        if not self.corpora:
            raise ValueError("an experiment needs a corpus")
        if self.seeds is not None and self.seeds < 1:
            raise ValueError(f"seeds must be at least 1, got {self.seeds}")
        for fold in self.folds or ():
            if not 1 <= fold <= self.num_folds:
                raise ValueError(f"folds must lie in [1, {self.num_folds}], got {fold}")

    def units(self, corpus: Corpus) -> tuple[int, ...]:
        """The action units to detect in a corpus."""
        return corpus.action_units if self.action_units is None else self.action_units

    def config(self, corpus: Corpus) -> TrainingConfig:
        """The base for a corpus.

        Raises:
            ValueError: the corpus does not meet the requirements.
        """
        return self.base.for_corpus(corpus, self.action_units, self.fps, self.num_image_features)


def changed(config: TrainingConfig, changes: Mapping[str, Any]) -> TrainingConfig:
    """A configuration with some options changed.

    Args:
        config: to start from.
        changes: by their path, as ``{"detector.physics.law": "newton", "label_share": 0.05}``. Those of one dataclass
            are set together, so that only the result has to be consistent.

    Raises:
        ValueError: an unknown path, or a value that is not allowed.
    """
    return _changed(config, {tuple(path.split(".")): value for path, value in changes.items()})


def _changed(values: Any, changes: Mapping[tuple[str, ...], Any]) -> Any:
    inner: dict[str, dict[tuple[str, ...], Any]] = {}
    outer: dict[str, Any] = {}
    for (name, *rest), value in changes.items():
        if name not in getattr(values, "__dataclass_fields__", {}):
            raise ValueError(f"{type(values).__name__} has no option {name!r}")
        if rest:
            inner.setdefault(name, {})[tuple(rest)] = value
        else:
            outer[name] = value
    return replace(values, **outer, **{name: _changed(getattr(values, name), parts) for name, parts in inner.items()})
