"""``biomechau train``: a detector of action units and muscle forces from a labelled corpus."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Suppress, arg

from biomechau.commands.command import Command, Switch
from biomechau.corpus import Corpus, Fold, check_folds, corpus_folds
from biomechau.corpus.folds import Validation
from biomechau.reports.terminal import tell
from biomechau.training.config import VALIDATION_F1, TrainingConfig
from biomechau.training.fitting import fitted
from biomechau.training.run import Run
from biomechau.training.runs import fold_folder

Setting = Literal["ours", "paper"]
MISSING_TENSORBOARD = 'no log for TensorBoard, metrics.csv alone: pip install "biomechau[tensorboard]" to have one'


@dataclass(frozen=True)
class Train(Command):
    """Train a detector on subject-exclusive folds of a corpus; fold K goes into RUN/foldK.

    The subjects that test a fold never train it, nor choose its weights: those of the epoch that is best on the
    validation subjects are kept. Action units and frame rate are those of the corpus unless others are given.
    Evaluate with "biomechau evaluate", use with "biomechau predict".
    """

    corpus: Annotated[Path, arg(metavar="CORPUS", help="Corpus folder to train on.")]
    out: Annotated[Path, arg(metavar="RUN", help="Folder of the run to make.")]
    setting: Annotated[
        Setting, arg(help="What the other options start from: this package's defaults, or the letter of the paper.")
    ] = "ours"
    fold: Annotated[int | None, arg(metavar="K", help="Train this fold alone, from 1; all if not given.")] = None
    num_folds: Annotated[
        int,
        arg(help="Folds to cut the subjects into; 3 are the literature's for the subjects of BP4D or DISFA."),
    ] = 3
    fold_seed: Annotated[int, arg(help="Seed of the cut, and of the choice of the validation subjects.")] = 0
    validation: Annotated[
        Validation,
        arg(help='Subjects that choose the weights: some of those to train on, or "test" as in many publications.'),
    ] = "train"
    resume: Annotated[Switch, arg(help="Go on with a run that was stopped; give the same options.")] = False
    training: Annotated[TrainingConfig, arg(name="")] = field(default_factory=TrainingConfig)
    units_given: Suppress[bool] = False

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Train:
        """Defaults of the options, which depend on the setting among the arguments."""
        paper = "--setting=paper" in arguments or ("--setting", "paper") in pairwise(arguments)
        return cls(
            corpus=tyro.MISSING,
            out=tyro.MISSING,
            setting="paper" if paper else "ours",
            training=TrainingConfig.paper() if paper else TrainingConfig(),
            units_given=any(argument.split("=")[0] == "--action-units" for argument in arguments),
        )

    def run(self) -> None:
        """Train fold after fold."""
        corpus = Corpus.open(self.corpus)
        folds = self._folds(corpus)
        config = fitted(self.training, corpus, self.units_given)
        if config.detector.uses_images:
            for fold in folds.values():
                corpus.of_fold(fold)

        from lightning.pytorch.utilities import rank_zero_only

        from biomechau.training.fold_training import tensorboard_available, train, weights_of_units

        for number, fold in folds.items():  # all of them first: the last may be hours away
            try:
                weights_of_units(corpus, fold, config)
            except ValueError as error:
                raise ValueError(f"fold {number}: {error}") from error

        main_process = getattr(rank_zero_only, "rank", 0) == 0
        if main_process and not tensorboard_available():
            tell("note", MISSING_TENSORBOARD)
        for number, fold in folds.items():
            folder, start = fold_folder(self.out, number), time.monotonic()
            if main_process:
                print(f"fold {number} of {self.num_folds}: {_words(fold)}", flush=True)
            try:
                with _warnings_in_words(main_process):
                    run = train(corpus, fold, config, folder, main_process and sys.stderr.isatty(), self.resume)
            except KeyboardInterrupt:
                if main_process:
                    tell("note", f"stopped in fold {number}; the same command with --resume goes on with it")
                raise
            except FileExistsError as error:
                raise FileExistsError(f"{error} with --resume") from error
            if main_process:
                print(f"fold {number} of {self.num_folds}: {_result(run, time.monotonic() - start)}", flush=True)

    def _folds(self, corpus: Corpus) -> dict[int, Fold]:
        """The folds to train, by their numbers."""
        folds = corpus_folds(corpus, self.num_folds, self.fold_seed, validation=self.validation)
        check_folds(folds, corpus)
        numbered = dict(enumerate(folds, 1))
        if self.fold is None:
            return numbered
        if self.fold not in numbered:
            raise ValueError(f"--fold must lie in [1, {self.num_folds}], got {self.fold}")
        return {self.fold: numbered[self.fold]}


@contextmanager
def _warnings_in_words(main_process: bool) -> Iterator[None]:
    """The warnings of a training each as one line, and of one process alone."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: tell("warning", str(message)) if main_process else None
        yield


def _words(fold: Fold) -> str:
    parts = {"train": fold.train, "validate": fold.validation, "test": fold.test}
    return ", ".join(f"{len(subjects)} subjects {what}" for what, subjects in parts.items())


def _result(run: Run, seconds: float) -> str:
    rows = run.metrics()
    name, best_of = run.config.monitor
    best = {"min": min, "max": max}[best_of](rows, key=lambda row: row[name])
    return (
        f"epoch {best['epoch'] + 1:.0f} of {len(rows)} kept, mean F1 on the validation subjects "
        f"{best[VALIDATION_F1]:.3f}, {seconds:.0f} s, {run.path}"
    )
