"""``biomechau train``: a detector of action units and muscle forces from a labelled corpus."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import arg

from biomechau.commands._training_options import TrainingCommand
from biomechau.commands.command import Switch
from biomechau.commands.terminal import MinuteLines, print_lines, print_message
from biomechau.training.training_config import VALIDATION_F1

if TYPE_CHECKING:
    from biomechau.corpus import Corpus, Fold
    from biomechau.training import Run

MISSING_TENSORBOARD = 'only metrics.csv is written; for a TensorBoard log: pip install "biomechau[tensorboard]"'


@dataclass(frozen=True, kw_only=True)
class Train(TrainingCommand):
    """Train a detector on subject-exclusive folds of a corpus; fold K goes into RUN/foldK.

    The test subjects of a fold are not used to train it or to select its weights, which are those of the epoch that is
    best on the validation subjects. Action units and frame rate are those of the corpus unless others are given.
    Evaluate the run with "biomechau evaluate", apply it with "biomechau predict".
    """

    out: Annotated[Path, arg(metavar="RUN", help="Folder of the run to create.")]
    fold: Annotated[int | None, arg(metavar="K", help="Train only this fold, from 1; all if not given.")] = None
    resume: Annotated[Switch, arg(help="Continue an interrupted run, with the same options.")] = False

    def run(self) -> None:
        """Train fold after fold."""
        from biomechau.corpus import Corpus
        from biomechau.training import fold_folder

        corpus = Corpus.open(self.corpus)
        folds = self._folds(corpus)
        config = self.config_for(corpus)
        if config.detector.uses_images:
            for fold in folds.values():
                corpus.of_fold(fold)

        from lightning.pytorch.utilities import rank_zero_only

        from biomechau.training.fold_training import tensorboard_available, train, weights_of_units

        wrong = []
        for number, fold in folds.items():  # check all before training, which may take hours
            try:
                weights_of_units(corpus, fold, config)
            except ValueError as error:
                wrong.append(f"fold {number}: {error}")
        if wrong:
            raise ValueError("; ".join(wrong))

        main_process = getattr(rank_zero_only, "rank", 0) == 0
        if main_process and not tensorboard_available():
            print_message("note", MISSING_TENSORBOARD)
        for number, fold in folds.items():
            folder, start = fold_folder(self.out, number), time.monotonic()
            if main_process:
                print_lines(f"fold {number} of {self.num_folds}: {_words(fold)}", flush=True)
            try:
                with _warnings_in_words(main_process):
                    bar = main_process and sys.stderr.isatty()
                    # A bar knows the time that is left; a log is told after the first epoch, and then once a minute.
                    count = MinuteLines(f"fold {number}, epochs", first=True) if main_process and not bar else None
                    run = train(corpus, fold, config, folder, bar, self.resume, count)
            except KeyboardInterrupt:
                if main_process:
                    print_message("note", f"stopped in fold {number}; the same command with --resume continues it")
                raise
            except FileExistsError as error:
                raise FileExistsError(str(error).replace("resume it", "resume it with --resume")) from error
            if main_process:
                print_lines(f"fold {number} of {self.num_folds}: {_result(run, time.monotonic() - start)}", flush=True)

    def _folds(self, corpus: Corpus) -> dict[int, Fold]:
        """The folds to train, by number."""
        from biomechau.corpus import check_folds, corpus_folds

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
    """Print each warning of a training as one line, in the main process only."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print_message("warning", str(message)) if main_process else None
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
