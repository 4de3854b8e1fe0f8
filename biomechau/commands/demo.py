"""``biomechau demo``: a demonstration on a scripted performance."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from biomechau.commands.command import Command, Switch
from biomechau.commands.terminal import print_lines, print_message, print_tables, progress_bar
from biomechau.corpus.simulator import SimulationConfig
from biomechau.files import is_unfinished, remove_folder, replacing
from biomechau.training import TrainingConfig

if TYPE_CHECKING:
    from biomechau.analysis import Demonstration
    from biomechau.rig import FaceRig
    from biomechau.training import CrossValidation

PAGE = "report.html"
# Small, but with every action unit often enough in every fold.
SIMULATION = SimulationConfig(subjects=15, sequences=4)
EPOCHS = 10


@dataclass(frozen=True)
class Demo(Command):
    """Show the package on the built-in face, in a minute or two: forces first, then action units.

    Moves the face by known muscle forces, adds noise, recovers the forces, and prints how well. Writes forces.csv,
    summary.json, forces.png, demo.png, and report.html, a page that plays everything back. Then simulates a small
    corpus, trains a detector on it, and prints its F1 on people who were not used for training; writes the folders
    corpus, run and scores, and adds some of these people to the page. It is a short training on few people; for full
    size see "biomechau simulate" and "biomechau train".
    """

    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-demo")
    num_vertices: Annotated[int, arg(help="Vertices of the face, 1,000 to 50,000.")] = 5000
    seed: Annotated[int, arg(help="Seed of the noise.")] = 0
    no_training: Annotated[Switch, arg(help="Skip the training.")] = False

    def run(self) -> None:
        """Simulate, invert, compare, write, print."""
        from biomechau.analysis import demonstrate
        from biomechau.commands._tables import recovery_table
        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.reports.html_report import demo_page
        from biomechau.reports.output import write_report

        if not self.no_training:
            check_earlier(self.out)
        with progress_bar("inverse dynamics") as progress:
            demonstration = demonstrate(self.num_vertices, self.seed, progress)
        found = demonstration.found
        summary = {**found.summary(), "recovery": demonstration.summary()}

        def draw(folder: Path) -> None:
            from biomechau.reports.picture_files import draw_performance

            title = "Built-in face, a scripted performance: true and recovered muscle forces"
            draw_performance(found, demonstration.truth, demonstration.moments, folder / "demo.png", title)
            (folder / PAGE).write_text(demo_page(demonstration, summary), encoding="utf-8")

        written = write_report(found, summary, self.out, draw)
        if not viz_available():
            print_message("note", MISSING_VIZ)
        print_tables(recovery_table(demonstration))
        print_lines(*(f"wrote {path}" for path in written), flush=True)
        if not self.no_training:
            self._train(demonstration, summary)
        if viz_available():
            print_lines(f"open {self.out / PAGE} in a browser")

    def _train(self, demonstration: Demonstration, summary: dict[str, Any]) -> None:
        from biomechau.analysis import chosen_predictions
        from biomechau.commands._tables import scores_notes, scores_table
        from biomechau.corpus import Corpus
        from biomechau.reports.figures import viz_available
        from biomechau.reports.html_report import demo_page, shown_of
        from biomechau.rig import FaceRig

        scores = learn(FaceRig.builtin(self.num_vertices), self.out)
        scores.save(self.out / "scores")
        print_tables(scores_table(scores))
        print_lines(*scores_notes(scores), f"wrote {self.out / 'scores'}")
        if viz_available():
            with progress_bar("choosing sequences") as progress:
                chosen = chosen_predictions(self.out / "run", Corpus.open(self.out / "corpus"), (), progress)
            html = demo_page(demonstration, summary, scores.summary(), shown_of(chosen))
            with replacing(self.out / PAGE) as partial:
                partial.write_text(html, encoding="utf-8")
        print_lines(f"try: biomechau predict capture.csv --run {self.out / 'run'} --out prediction")


def check_earlier(out: Path) -> list[Path]:
    """Check that a folder contains no corpus and no run except those of an earlier demonstration.

    Returns:
        The folders of its folds.

    Raises:
        FileExistsError: ``out/corpus`` or ``out/run`` contains something else; the message names it.
        ValueError: its corpus or a run is broken.
        OSError: a file cannot be read.
    """
    from biomechau.corpus import Corpus
    from biomechau.training.run import CONFIG, FILES, Run

    corpus, run = out / "corpus", out / "run"
    if corpus.is_dir() and any(corpus.iterdir()):
        if Corpus.open(corpus).provenance.get("simulation") != asdict(SIMULATION):
            raise FileExistsError(_in_the_way(corpus))
    elif corpus.exists() and not corpus.is_dir():
        raise FileExistsError(_in_the_way(corpus))
    if run.exists() and not run.is_dir():
        raise FileExistsError(_in_the_way(run))
    folds = sorted(path for path in run.iterdir() if not is_unfinished(path)) if run.is_dir() else []
    for fold in folds:
        if not fold.is_dir() or not fold.name.startswith("fold"):
            raise FileExistsError(_in_the_way(fold))
        if (fold / CONFIG).is_file() and Run.open(fold).config != _training_config():
            raise FileExistsError(_in_the_way(fold))
        for path in fold.iterdir():
            if path.name not in FILES and not is_unfinished(path):
                raise FileExistsError(_in_the_way(path))
    return folds


def _in_the_way(path: Path) -> str:
    return f"{path} is in the way, and was not written by an earlier demo; move it, or choose another folder with --out"


def _training_config() -> TrainingConfig:
    return TrainingConfig(epochs=EPOCHS, accelerator="cpu")


def learn(rig: FaceRig, out: Path) -> CrossValidation:
    """Simulate ``out/corpus``, train three folds into ``out/run``, and test them.

    Results of an earlier demonstration are replaced.

    Args:
        rig: the face.
        out: folder of the demonstration.

    Raises:
        FileExistsError, ValueError: as :func:`check_earlier`.
        OSError: ``out`` cannot be written.
    """
    from biomechau.corpus import Corpus, subject_folds
    from biomechau.corpus.simulator import write_simulated_corpus
    from biomechau.training import cross_validate, fold_folder, open_runs, train

    corpus_folder, run_folder = out / "corpus", out / "run"
    earlier = check_earlier(out)
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar("simulating people") as progress:
        write_simulated_corpus(rig, corpus_folder, SIMULATION, progress, overwrite=True)
    for folder in earlier:
        remove_folder(folder)
    corpus = Corpus.open(corpus_folder)
    folds = subject_folds(corpus)
    with progress_bar("training") as progress:
        for number, fold in enumerate(folds, 1):
            progress(number - 1, len(folds))
            train(corpus, fold, _training_config(), fold_folder(run_folder, number), progress=False)
    return cross_validate(open_runs(run_folder), corpus)
