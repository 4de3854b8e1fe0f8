"""``biomechau experiment``: the paper's tables on a corpus."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress as Bar, TextColumn
from tyro.conf import Positional, arg

from biomechau.commands.command import Command
from biomechau.commands.terminal import progress_bar, tell
from biomechau.commands.train import Setting
from biomechau.corpus import Corpus
from biomechau.corpus.folds import Validation
from biomechau.models.detector_config import Source
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.training.config import TrainingConfig

if TYPE_CHECKING:
    from biomechau.training.experiments.running import Progress


@dataclass(frozen=True)
class Experiment(Command):
    """Make a table of the paper on a corpus: train its rows, test them, and write DIR/NAME/table.md, .csv and .tex.

    table1: what the head sees. table2, table3: beside published results, on BP4D or DISFA. table4: few labels. table5:
    trained on one corpus, tested on another. ablation: each loss and part of the physics. The tables are written anew
    after each training; a command that was stopped goes on where it was when it is given again. figures: the paper's
    Fig. 2, 4 and 5 of a trained run, for its best, its median and its worst test sequence.
    """

    name: Annotated[
        Positional[str], arg(metavar="NAME", help="table1, table2, table3, table4, table5, ablation or figures.")
    ]
    corpus: Annotated[Path, arg(metavar="CORPUS", help="Corpus folder.")]
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write into.")]
    other: Annotated[Path | None, arg(metavar="CORPUS", help="Another corpus of the same rig, for table5.")] = None
    trained: Annotated[Path | None, arg(name="run", metavar="RUN", help="Run to draw, for figures.")] = None
    images: Annotated[
        Path | None,
        arg(metavar="DIR", help="Pictures for Fig. 5; if not given, those in CORPUS/images, where there are such."),
    ] = None
    sequences: Annotated[
        tuple[str, ...], arg(metavar="ID", help="Sequences to draw; the best, the median and the worst if not given.")
    ] = ()
    setting: Annotated[
        Setting, arg(help="What the rows change: this package's defaults, or the letter of the paper.")
    ] = "ours"
    source: Annotated[
        Source | None,
        arg(help="What the muscle forces are regressed from, in place of the setting's."),
    ] = None
    seeds: Annotated[
        int | None, arg(metavar="N", help="Train with the seeds 0 to N - 1; 3 for table4 and table5, else 1.")
    ] = None
    folds: Annotated[
        tuple[str, ...],
        arg(
            metavar="K",
            help="Folds to train, from 1. All if not given, but for table4 and table5: one a seed, in turn.",
        ),
    ] = ()
    rows: Annotated[tuple[str, ...], arg(metavar="ROW", help="Rows to train, by name; all if not given.")] = ()
    action_units: Annotated[
        tuple[str, ...], arg(metavar="AU", help="Numbers of the action units; those of the corpus if not given.")
    ] = ()
    change: Annotated[
        tuple[str, ...],
        arg(
            metavar="OPTION=VALUE",
            help='Options of all trainings by their place in the configuration, values as in JSON: "neutral=5", '
            '"losses.reconstruction=3", "detector.physics.law=newton". What makes a row comes after them.',
        ),
    ] = ()
    epochs: Annotated[int | None, arg(metavar="N", help="Epochs of each training, in place of the setting's.")] = None
    validation: Annotated[
        Validation,
        arg(help='Subjects that choose the weights: some of those to train on, or "test" as in many publications.'),
    ] = "train"
    accelerator: Annotated[str, arg(help='"cpu", "gpu", or "auto" for the fastest there is.')] = "auto"
    jobs: Annotated[
        int | None,
        arg(metavar="N", help="Processes to train in; by default one for each GPU, or for each core without."),
    ] = None

    def run(self) -> None:
        """Make what the name stands for."""
        if self.name not in MAKERS:
            raise ValueError(f"NAME must be one of {', '.join(MAKERS)}, got {self.name!r}")
        if self.other is not None and self.name != "table5":
            raise ValueError(f"--other is for table5, not for {self.name}")
        if (self.trained is not None) != (self.name == "figures"):
            raise ValueError("--run is for figures, and figures need it")
        if (self.sequences or self.images is not None) and self.name != "figures":
            raise ValueError(f"--sequences and --images are for figures, not for {self.name}")
        MAKERS[self.name](self)


def make_table(command: Experiment) -> None:
    """Train the rows of a table, and write it.

    Raises:
        ValueError: options or a corpus that do not fit, or trainings that failed; the table has the others.
        OSError: a file cannot be read or written.
    """
    from biomechau.training.experiments import TABLES, Setup
    from biomechau.training.experiments.plan import Plan
    from biomechau.training.experiments.running import run_experiment

    paths = (command.corpus,) if command.other is None else (command.corpus, command.other)
    setup = Setup(
        tuple(Corpus.open(path) for path in paths),
        _base(command),
        command.setting,
        command.seeds,
        _numbers(command.folds, "folds"),
        _parts(command.rows, "rows"),
        _numbers(command.action_units, "action-units"),
        validation=command.validation,
    )
    plan = Plan(TABLES[command.name](setup), setup, command.out / command.name)
    done = sum(job.evaluation() is not None for job in plan.jobs)
    print(f"{command.name}: {len(plan.rows)} rows, {len(plan.jobs)} runs, {done} of them done", flush=True)
    for row in plan.rows:
        if row.missing:
            tell("note", f"{row.name} is left out: {row.missing}")
    try:
        with _progress(done, len(plan.jobs)) as report:
            failures = run_experiment(plan, command.jobs, _as_typed(command), report)
    except KeyboardInterrupt:
        tell("note", "stopped; the same command goes on where it was")
        raise
    print((plan.out / "table.md").read_text(encoding="utf-8"))
    print(f"wrote {plan.out}")
    if failures:
        first, *others = failures
        more = f" and {len(others)} more" if others else ""
        raise ValueError(f"{len(failures)} of {len(plan.jobs)} runs failed: {first}{more}")


def make_figures(command: Experiment) -> None:
    """Draw Fig. 2, 4 and 5.

    Raises:
        ImportError: there is nothing to draw with.
        ValueError: a run or a corpus that do not fit.
        OSError: a file cannot be read or written.
    """
    if not viz_available():
        raise ImportError(MISSING_VIZ)
    from biomechau.analysis import chosen_predictions
    from biomechau.corpus.simulator.simulated_corpus import IMAGES
    from biomechau.reports.paper_figures import paper_figures, photographs
    from biomechau.training.runs import open_runs

    assert command.trained is not None
    runs, corpus, out = open_runs(command.trained), Corpus.open(command.corpus), command.out / "figures"
    images = corpus.path / IMAGES if command.images is None else command.images
    pictures = photographs(corpus, images) if command.images is not None or images.is_dir() else None
    with progress_bar("figures") as progress:
        chosen = chosen_predictions(runs, corpus, command.sequences, progress)
    about = {"corpus": corpus.path.name, "folds": {number: run.path.name for number, run in runs.items()}}
    paths = paper_figures(chosen, out, pictures, about=about)
    for path in paths:
        print(f"wrote {path}")


# What each name makes.
MAKERS: Mapping[str, Callable[[Experiment], None]] = {
    **dict.fromkeys(("table1", "table2", "table3", "table4", "table5", "ablation"), make_table),
    "figures": make_figures,
}


def _base(command: Experiment) -> TrainingConfig:
    from biomechau.training.experiments import changed

    base = TrainingConfig.paper() if command.setting == "paper" else TrainingConfig()
    source = base.detector.source if command.source is None else command.source
    base = replace(base, accelerator=command.accelerator, detector=replace(base.detector, source=source))
    base = base if command.epochs is None else replace(base, epochs=command.epochs)
    try:
        return changed(base, dict(map(_place_and_value, command.change)))
    except TypeError as error:
        raise ValueError(f"--change {' '.join(command.change)}: {error}") from error


def _place_and_value(text: str) -> tuple[str, Any]:
    """Of an option, the value as JSON or as a word."""
    place, given, value = text.partition("=")
    if not given:
        raise ValueError(f"--change must be OPTION=VALUE, got {text!r}")
    try:
        return place, json.loads(value)
    except ValueError:
        return place, value


def _parts(given: tuple[str, ...], option: str) -> tuple[str, ...] | None:
    """What stands between spaces or commas; None where nothing was given."""
    parts = tuple(part for text in given for part in text.split(","))
    if not all(parts) or len(set(parts)) != len(parts):
        raise ValueError(f"--{option} must be different names, got {' '.join(given)!r}")
    return parts or None


def _numbers(given: tuple[str, ...], option: str) -> tuple[int, ...] | None:
    parts = _parts(given, option)
    if parts is not None and not all(part.isdecimal() for part in parts):
        raise ValueError(f"--{option} must be numbers, got {' '.join(given)!r}")
    return None if parts is None else tuple(map(int, parts))


def _as_typed(command: Experiment) -> str:
    """The command line that asks for this."""
    words = ["biomechau", "experiment", command.name]
    for field in fields(command):
        value = getattr(command, field.name)
        if field.name not in ("name", "debug") and value != field.default:
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{field.name.replace('_', '-')}", *map(str, values)]
    return shlex.join(words)


@contextmanager
def _progress(done: int, total: int) -> Iterator[Callable[[Progress], None]]:
    """A bar over all trainings on a terminal, else a line for each."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[left]}"))
    with Bar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("runs", total=total, completed=done, left="")

        def report(progress: Progress) -> None:
            line = f"{progress.done} of {progress.total}: {progress.job}: {_found(progress)}, {_left(progress)}"
            bar.update(task, completed=progress.done, left=_left(progress))
            if console.is_terminal:
                bar.console.print(line, markup=False, highlight=False)
            else:
                print(line, flush=True)

        yield report


def _found(progress: Progress) -> str:
    if progress.evaluation is None:
        return "failed"
    f1 = progress.evaluation.scores.mean_f1
    return "no positives" if f1 is None else f"mean F1 {f1:.3f}"


def _left(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.remaining), 60)
    return f"about {minutes} min left" if minutes else f"about {seconds} s left"
