"""``biomechau experiment``: the tables and figures of the paper on a corpus."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn
from tyro.conf import OmitArgPrefixes, arg

from biomechau.commands import _training_options as training_options
from biomechau.commands._training_options import NoOption, TrainingCommand
from biomechau.commands.command import Command
from biomechau.commands.terminal import print_lines, print_message, printable, progress_bar
from biomechau.models.detector_config import HeadName

if TYPE_CHECKING:
    from typing_extensions import Self

    from biomechau.training.experiments.running import Progress


@dataclass(frozen=True)
class _Detector(training_options.Detector):
    """Components of the detector and their sizes."""

    # The rows determine the heads.
    head: NoOption[HeadName] = "physics"


@dataclass(frozen=True)
class _Options(training_options.Options):
    detector: OmitArgPrefixes[_Detector] = field(default_factory=_Detector)
    # Replaced by --seeds.
    seed: NoOption[int] = 0


@dataclass(frozen=True, kw_only=True)
class _Table(TrainingCommand):
    """Base class of the tables: train and test rows, and write DIR/NAME/table.md, .csv and .tex after each training.

    Training options apply to all rows, and the changes of a row come after them.
    """

    name: ClassVar[str]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write into.")]
    seeds: Annotated[
        int | None, arg(metavar="N", help="Train with the seeds 0 to N - 1; 3 for table4 and table5, else 1.")
    ] = None
    folds: Annotated[
        tuple[int, ...] | None,
        arg(
            metavar="K ...",
            help="Folds to train, from 1; all if not given, except in table4 and table5: one per seed, in turn.",
        ),
    ] = None
    rows: Annotated[tuple[str, ...] | None, arg(metavar="ROW ...", help="Rows to train; all if not given.")] = None
    jobs: Annotated[
        int | None,
        arg(metavar="N", help="Number of parallel processes; by default one per GPU, or per core without GPUs."),
    ] = None
    training: Annotated[_Options, arg(name="")] = field(default_factory=_Options)
    arguments: NoOption[tuple[str, ...]] = ()

    @classmethod
    def default(cls, arguments: Sequence[str]) -> Self:
        """See the base class."""
        return replace(super().default(arguments), arguments=tuple(arguments))

    @property
    def corpora(self) -> tuple[Path, ...]:
        """Corpus folders to train and test on."""
        return (self.corpus,)

    def run(self) -> None:
        """Train the rows of the table, and write it.

        Raises:
            ValueError: options or a corpus that do not match, or failed trainings (the table has the others).
            OSError: a file cannot be read or written.
        """
        from biomechau.corpus import Corpus
        from biomechau.training.experiments import TABLES, Setup
        from biomechau.training.experiments.plan import Plan
        from biomechau.training.experiments.running import run_experiment

        setup = Setup(
            tuple(Corpus.open(path) for path in self.corpora),
            self.config,
            self.setting,
            self.seeds,
            self.folds,
            self.rows,
            self.action_units,
            self.fps,
            self.num_image_features,
            self.num_folds,
            self.fold_seed,
            self.validation,
        )
        plan = Plan(TABLES[self.name](setup), setup, self.out / self.name)
        done = sum(job.evaluation() is not None for job in plan.jobs)
        print_lines(f"{self.name}: {len(plan.rows)} rows, {len(plan.jobs)} runs, {done} of them finished", flush=True)
        for row in plan.rows:
            if row.missing:
                print_message("note", f"{row.name} is skipped: {row.missing}")
        command = shlex.join(["biomechau", "experiment", self.name, *self.arguments])
        try:
            with _progress(done, len(plan.jobs)) as report:
                failures = run_experiment(plan, self.jobs, command, report)
        except KeyboardInterrupt:
            print_message("note", "stopped; the same command continues")
            raise
        print_lines((plan.out / "table.md").read_text(encoding="utf-8"))
        print_lines(f"wrote {plan.out}")
        if failures:
            first, *others = failures
            more = f" and {len(others)} more" if others else ""
            raise ValueError(f"{len(failures)} of {len(plan.jobs)} runs failed: {first}{more}")


@dataclass(frozen=True, kw_only=True)
class Table1(_Table):
    """Make Table 1 of the paper on a corpus: inputs of the head.

    Writes DIR/table1/table.md, .csv and .tex, and updates them after each training. After an interruption the same
    command continues. Training options apply to all rows.
    """

    name = "table1"


@dataclass(frozen=True, kw_only=True)
class Table2(_Table):
    """Make Table 2 of the paper: F1 on BP4D and published results.

    Writes DIR/table2/table.md, .csv and .tex, like table1.
    """

    name = "table2"


@dataclass(frozen=True, kw_only=True)
class Table3(_Table):
    """Make Table 3 of the paper: F1 on DISFA and published results.

    Writes DIR/table3/table.md, .csv and .tex, like table1.
    """

    name = "table3"


@dataclass(frozen=True)
class _FewLabelOptions(_Options):
    # The rows determine the shares.
    label_share: NoOption[float] = 1.0


@dataclass(frozen=True, kw_only=True)
class Table4(_Table):
    """Make Table 4 of the paper: training with the labels of a few sequences, with and without the physics losses.

    Writes DIR/table4/table.md, .csv and .tex, like table1.
    """

    name = "table4"
    training: Annotated[_FewLabelOptions, arg(name="")] = field(default_factory=_FewLabelOptions)


@dataclass(frozen=True, kw_only=True)
class Table5(_Table):
    """Make Table 5 of the paper: training on one corpus, test on another, in both directions.

    Writes DIR/table5/table.md, .csv and .tex, like table1.
    """

    name = "table5"
    other: Annotated[Path, arg(metavar="CORPUS", help="Another corpus of the same rig.")]

    @property
    def corpora(self) -> tuple[Path, ...]:
        """See the base class."""
        return (self.corpus, self.other)


@dataclass(frozen=True, kw_only=True)
class Ablation(_Table):
    """Change one loss or one option of the physics at a time, as in Appendix C of the paper.

    Writes DIR/ablation/table.md, .csv and .tex, like table1.
    """

    name = "ablation"


@dataclass(frozen=True, kw_only=True)
class Figures(Command):
    """Draw Fig. 2, 4 and 5 of the paper for a trained run, into DIR/figures."""

    corpus: Annotated[Path, arg(metavar="CORPUS", help="Corpus folder with the test sequences.")]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write into.")]
    run_folder: Annotated[Path, arg(name="run", metavar="RUN", help="Run to draw.")]
    images: Annotated[
        Path | None,
        arg(metavar="DIR", help="Pictures for Fig. 5; those in CORPUS/images if not given, if there are any."),
    ] = None
    sequences: Annotated[
        tuple[str, ...],
        arg(metavar="ID ...", help="Sequences to draw; the best, the median and the worst if not given."),
    ] = ()

    def run(self) -> None:
        """Draw.

        Raises:
            ImportError: the ``viz`` extra is not installed.
            ValueError: a run or a corpus that does not match.
            OSError: a file cannot be read or written.
        """
        from biomechau.reports.figures import MISSING_VIZ, viz_available

        if not viz_available():
            raise ImportError(MISSING_VIZ)
        from biomechau.analysis import chosen_predictions
        from biomechau.corpus import Corpus
        from biomechau.corpus.simulator.simulated_corpus import IMAGES
        from biomechau.reports.paper_figures import paper_figures, photographs
        from biomechau.training import open_runs

        runs, corpus = open_runs(self.run_folder), Corpus.open(self.corpus)
        images = corpus.path / IMAGES if self.images is None else self.images
        pictures = photographs(corpus, images) if self.images is not None or images.is_dir() else None
        with progress_bar("figures") as progress:
            chosen = chosen_predictions(runs, corpus, self.sequences, progress)
        about = {"corpus": corpus.path.name, "folds": {number: run.path.name for number, run in runs.items()}}
        for path in paper_figures(chosen, self.out / "figures", pictures, about=about):
            print_lines(f"wrote {path}")


@contextmanager
def _progress(done: int, total: int) -> Iterator[Callable[[Progress], None]]:
    """Show a progress bar over all trainings on a terminal, or print a line for each."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("runs", total=total, completed=done, left="")

        def report(progress: Progress) -> None:
            line = f"{progress.done} of {progress.total}: {progress.job}: {_found(progress)}, {_left(progress)}"
            bar.update(task, completed=progress.done, left=_left(progress))
            if console.is_terminal:
                bar.console.print(printable(line), markup=False, emoji=False, highlight=False)
            else:
                print_lines(line, flush=True)

        yield report


def _found(progress: Progress) -> str:
    if progress.evaluation is None:
        return "failed"
    f1 = progress.evaluation.scores.mean_f1
    return "no positives" if f1 is None else f"mean F1 {f1:.3f}"


def _left(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.remaining), 60)
    return f"about {minutes} min left" if minutes else f"about {seconds} s left"
