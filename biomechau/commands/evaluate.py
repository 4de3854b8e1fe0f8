"""``biomechau evaluate``: scores of a run on subjects that were not used for training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import print_lines, print_message, print_tables, progress_bar


@dataclass(frozen=True)
class Evaluate(Command):
    """Test all folds of a run: F1 of each action unit over all frames of a fold, then the mean over the folds.

    On the training corpus every fold is tested on its own test subjects; another corpus is resampled to the frame rate
    of the run and tested as a whole, and if it has another rig, its shapes are matched by name. Writes
    action_unit_scores.csv, side_scores.csv, intensity_scores.csv and force_recovery.csv (if sides, intensities or true
    forces are known) and evaluation.json with the protocol.
    """

    corpus: Annotated[Path, arg(metavar="CORPUS", help="Corpus with the test subjects.")]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")]
    run_folder: Annotated[
        Path | None,
        arg(
            name="run",
            metavar="RUN",
            help="Folder of the run, or of one of its folds; if not given, the default detector of the package.",
        ),
    ] = None
    json: Annotated[Switch, arg(help="Print evaluation.json instead of the table.")] = False

    def run(self) -> None:
        """Evaluate, write, print."""
        from biomechau.analysis.background import SIMULATED
        from biomechau.commands._tables import intensity_table, scores_notes, scores_table, sides_table
        from biomechau.corpus import Corpus
        from biomechau.reports.output import to_json
        from biomechau.training import open_runs
        from biomechau.training.run import DEFAULT_RUN

        runs, corpus = open_runs(self.run_folder or DEFAULT_RUN), Corpus.open(self.corpus)

        from biomechau.training import cross_validate  # only now: Lightning takes seconds, and errors come first

        with progress_bar("testing folds", self.json) as progress:
            scores = cross_validate(runs, corpus, progress)
        namesakes = {s for run in runs.values() for s in (*run.fold.train, *run.fold.validation)} & set(corpus.subjects)
        if namesakes and not scores.same_corpus:
            print_message(
                "warning",
                f"{self.corpus} is not the training corpus, but has subjects of the same name, such as "
                f"{min(namesakes)!r}: make sure that they are other people",
            )
        scores.save(self.out)
        if self.json:
            print(to_json(scores.summary()))
        else:
            tables = (scores_table(scores), sides_table(scores), intensity_table(scores))
            print_tables(*filter(None, tables))
            tested = f"the default detector of the package, {SIMULATED}" if self.run_folder is None else ""
            print_lines(*filter(None, (tested, *scores_notes(scores), f"wrote {self.out}")))
