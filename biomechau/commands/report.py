"""``biomechau report``: a page about a run or a folder of results."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import print_lines, progress_bar
from biomechau.files import replacing

_LARGEST_PAGE = 20e6  # bytes; browsers take long to open larger ones


@dataclass(frozen=True)
class Report(Command):
    """Write a page that any browser shows offline: scores, curves, and the moving face.

    For a run: scores, and three test sequences with action units, forces, residual and asymmetry over time. For a
    folder written by predict, forces, evaluate or experiment: its contents.
    """

    folder: Annotated[
        Path, Positional, arg(metavar="RUN|DIR", help="A run, or a folder of predict, forces, evaluate or experiment.")
    ]
    out: Annotated[
        Path | None,
        arg(metavar="FILE", help="Page to write; if not given, report.html in the folder, or here for a RUN."),
    ] = None
    corpus: Annotated[Path | None, arg(metavar="CORPUS", help="Corpus with the test subjects, for a RUN.")] = None
    sequence: Annotated[
        tuple[str, ...],
        arg(metavar="ID", help="Sequences of the corpus to show; the best, the median and the worst if not given."),
    ] = ()
    every: Annotated[
        int | None,
        arg(metavar="N", help="Show every N-th frame; all if not given, if the page is not larger than 20 MB."),
    ] = None
    quiet: Annotated[Switch, arg(help="Show no progress.")] = False

    def run(self) -> None:
        """Determine the kind of folder, and write its page."""
        if not self.folder.is_dir():
            raise FileNotFoundError(f"no such folder: {self.folder}")

        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.training.run import holds_runs

        of_run = holds_runs(self.folder)
        if not of_run and (self.corpus is not None or self.sequence):
            raise ValueError(f"{self.folder} is not a run: --corpus and --sequence are for runs")
        if not viz_available():
            raise ImportError(MISSING_VIZ)
        if self.every is not None and self.every < 1:
            raise ValueError(f"--every must be at least 1, got {self.every}")
        html = (self._of_run() if of_run else self._of_folder()).encode(errors="backslashreplace")
        if self.every is None and len(html) > _LARGEST_PAGE:
            every = math.ceil(len(html) / _LARGEST_PAGE)
            raise ValueError(
                f"the page would be {len(html) / 1e6:.0f} MB, larger than {_LARGEST_PAGE / 1e6:.0f}: --every {every} "
                f"shows one of {every} frames, --every 1 all of them"
            )
        out = self.out or (Path() if of_run else self.folder) / "report.html"
        with replacing(out) as partial:
            partial.write_bytes(html)
        print_lines(f"wrote {out}, {len(html) / 1e6:.1f} MB")

    def _of_folder(self) -> str:
        from biomechau.reports.html_report import CARD, SCORES, TABLE, experiment_page, recording_page, scores_page
        from biomechau.reports.replay import FILE as REPLAY
        from biomechau.reports.study_files import INDEX, STUDY

        folder = self.folder
        if (folder / REPLAY).exists():
            return recording_page(folder, self.every or 1)
        if (folder / SCORES).is_file():
            return scores_page(folder)
        folders = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
        experiments = [path for path in folders if (path / TABLE).is_file() and (path / CARD).is_file()]
        if not experiments and (folder / STUDY).is_file():
            raise ValueError(f"{folder} is a study, whose pages are there: open {folder / INDEX}")
        if not experiments:
            raise ValueError(
                f"{folder} holds nothing to report: expected a run (fold1, fold2, ...), {REPLAY} of predict or forces, "
                f"{SCORES} of evaluate, or {TABLE} and {CARD} of an experiment"
            )
        return experiment_page(experiments)

    def _of_run(self) -> str:
        if self.corpus is None:
            raise ValueError(f"{self.folder} is a run: name the corpus with its test subjects with --corpus")

        from biomechau.analysis import Ensemble, chosen_predictions
        from biomechau.analysis.background import SIMULATED, Background
        from biomechau.corpus import Corpus
        from biomechau.reports.html_report import SCORES, how_chosen, run_page, shown_of
        from biomechau.training import open_runs
        from biomechau.training.evaluation_entries import read_scores

        runs, corpus = open_runs(self.folder), Corpus.open(self.corpus)

        from biomechau.training import cross_validate  # only now: Lightning takes seconds, and errors come first

        scores = None
        if (self.folder / SCORES).is_file() and all(run.trained_on(corpus) for run in runs.values()):
            scores = read_scores(self.folder / SCORES)
        if scores is None or list(scores["folds"]) != [str(number) for number in runs]:
            with progress_bar("testing folds", self.quiet) as progress:
                scores = cross_validate(runs, corpus, progress).summary()
        with progress_bar("choosing sequences", self.quiet) as progress:
            ensemble = Ensemble.of(runs)
            chosen = chosen_predictions(ensemble, corpus, self.sequence, progress)
        about = f"corpus {corpus.path.name}, {len(corpus.subjects)} subjects, {len(corpus)} sequences"
        about += f"; {SIMULATED}" if Background.of(ensemble).simulated else ""
        how = how_chosen([choice for choice, _ in chosen])
        shown = [replace(one, replay=one.replay.thinned(self.every or 1)) for one in shown_of(chosen)]
        return run_page(self.folder.resolve().name, ensemble.training, about, scores, shown, how)
