"""What an experiment is: rows of a table, each a training with a few options changed."""

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
        heading: what the table shows.
        changes: options that differ from the experiment's base, by their place in ``TrainingConfig``, as
            ``{"detector.head": "force"}``.
        against: name of the row that it is compared with, run for run; empty if with none.
        missing: why it cannot be trained on this corpus; empty if it can.
        train_on: number of the corpus that trains, from 0.
        test_on: number of the corpus that tests; that which trains is tested on the test subjects of each fold,
            another on all of its subjects.
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
    """Numbers that others published.

    Attributes:
        method: its name.
        source: authors, venue, year, and the table the numbers are of.
        f1: of each action unit, by its number [%].
        average: as printed [%].
        note: what was corrected, or does not agree; empty if nothing.
    """

    method: str
    source: str
    f1: Mapping[int, float]
    average: float
    note: str = ""


@dataclass(frozen=True)
class Experiment:
    """A table to make.

    Attributes:
        name: identifier, also of its folder.
        title: of the table.
        rows: to train.
        seeds: number of them, unless another is asked for.
        fold_of_seed: train one fold a seed, fold s mod n + 1 for seed s, unless folds are asked for; else all folds.
        units: whether the table shows each action unit.
        published: rows to show beside.
        notes: what a reader must know, for the card and below the table.
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
    """What an experiment is made with.

    Attributes:
        corpora: to train and test on: one, and another where the experiment crosses corpora.
        base: what the rows change; its action units and frame rate become those of the corpus.
        setting: name of the base.
        seeds: number of seeds, 0, 1, ...; the experiment's own if not given.
        folds: numbers of the folds, from 1; the experiment's own if not given.
        rows: names of the rows; all if not given.
        action_units: to detect; those of the corpus if not given.
        fps, num_image_features: that the corpora must have, see :meth:`biomechau.training.TrainingConfig.for_corpus`.
        num_folds: to cut the subjects into.
        fold_seed: of the cut.
        validation: subjects that choose the weights, see :func:`biomechau.corpus.corpus_folds`.

    Raises:
        ValueError: no corpus, a number of seeds below 1, or a fold outside the range.
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
        """The action units to detect on a corpus."""
        return corpus.action_units if self.action_units is None else self.action_units

    def config(self, corpus: Corpus) -> TrainingConfig:
        """What the rows change, on a corpus.

        Raises:
            ValueError: the corpus has not what is asked for.
        """
        return self.base.for_corpus(corpus, self.action_units, self.fps, self.num_image_features)


def changed(config: TrainingConfig, changes: Mapping[str, Any]) -> TrainingConfig:
    """A configuration with some options changed.

    Args:
        config: to start from.
        changes: by their place, as ``{"detector.physics.law": "newton", "label_share": 0.05}``. Those of one dataclass
            are set together, so that they need to fit each other only in the end.

    Raises:
        ValueError: a place that there is not, or a value that is not allowed.
    """
    return _changed(config, {tuple(place.split(".")): value for place, value in changes.items()})


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
