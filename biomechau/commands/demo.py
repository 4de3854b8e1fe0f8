"""``biomechau demo``: the package shown on a scripted performance."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import arg

from biomechau.analysis import Demonstration, chosen_predictions, demonstrate
from biomechau.commands.command import Command, Switch
from biomechau.commands.scores import scores_notes, scores_table
from biomechau.commands.terminal import progress_bar, recovery_table, say, show, tell
from biomechau.corpus import Corpus, subject_folds
from biomechau.corpus.simulator import SimulationConfig, write_simulated_corpus
from biomechau.files import replacing
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.html_report import demo_page, shown_of
from biomechau.reports.output import write_report
from biomechau.rig import FaceRig
from biomechau.training.run import CONFIG
from biomechau.training.runs import fold_folder, open_runs
from biomechau.training.training_config import TrainingConfig

if TYPE_CHECKING:
    from biomechau.training.cross_validation import CrossValidation

PAGE = "report.html"
# Small, but with every action unit often enough in every fold.
SIMULATION = SimulationConfig(subjects=15, sequences=4)
EPOCHS = 10


@dataclass(frozen=True)
class Demo(Command):
    """Show the package on the built-in face, in a minute or two: forces first, then action units.

    Moves the face by known muscle forces, adds noise, recovers the forces, and prints how well: forces.csv,
    summary.json, forces.png, demo.png, and report.html, a page that plays it back. Then simulates a small corpus,
    trains a detector on it, and prints its F1 on people that it was not trained on: corpus, run and scores; the page
    then shows some of them too. It is a short training on few people; the full size is "biomechau simulate" and
    "biomechau train".
    """

    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-demo")
    num_vertices: Annotated[int, arg(help="Vertices of the face, 1,000 to 50,000.")] = 5000
    seed: Annotated[int, arg(help="Seed of the noise.")] = 0
    no_training: Annotated[Switch, arg(help="Leave the second part out.")] = False

    def run(self) -> None:
        """Simulate, invert, compare, write, print."""
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
            tell("note", MISSING_VIZ)
        show(recovery_table(demonstration))
        say(*(f"wrote {path}" for path in written), flush=True)
        if not self.no_training:
            self._train(demonstration, summary)
        if viz_available():
            say(f"open {self.out / PAGE} in a browser")

    def _train(self, demonstration: Demonstration, summary: dict[str, Any]) -> None:
        scores = learn(FaceRig.builtin(self.num_vertices), self.out)
        scores.save(self.out / "scores")
        show(scores_table(scores))
        say(*scores_notes(scores), f"wrote {self.out / 'scores'}")
        if viz_available():
            with progress_bar("choosing sequences") as progress:
                chosen = chosen_predictions(self.out / "run", Corpus.open(self.out / "corpus"), (), progress)
            html = demo_page(demonstration, summary, scores.summary(), shown_of(chosen))
            with replacing(self.out / PAGE) as partial:
                partial.write_text(html, encoding="utf-8")
        say(f"try: biomechau predict capture.csv --run {self.out / 'run'} --out prediction")


def learn(rig: FaceRig, out: Path, simulation: SimulationConfig = SIMULATION, epochs: int = EPOCHS) -> CrossValidation:
    """Simulate ``out/corpus``, train three folds into ``out/run``, and test them; what an earlier demo left goes.

    Args:
        rig: the face.
        out: folder of the demonstration.
        simulation: size of the corpus.
        epochs: of each fold.

    Raises:
        FileExistsError: something else than a corpus and a run is there.
        OSError: ``out`` cannot be written.
    """
    from biomechau.training.cross_validation import cross_validate
    from biomechau.training.fold_training import train

    corpus_folder, run_folder = out / "corpus", out / "run"
    if run_folder.exists() and not any(run_folder.glob(f"fold*/{CONFIG}")):
        raise FileExistsError(f"{run_folder} is in the way: it is no run of an earlier demo")
    out.mkdir(parents=True, exist_ok=True)
    with progress_bar("simulating people") as progress:
        write_simulated_corpus(rig, corpus_folder, simulation, progress, overwrite=True)
    shutil.rmtree(run_folder, ignore_errors=True)
    corpus = Corpus.open(corpus_folder)
    folds = subject_folds(corpus)
    with progress_bar("training") as progress:
        for number, fold in enumerate(folds, 1):
            progress(number - 1, len(folds))
            config = TrainingConfig(epochs=epochs, accelerator="cpu")
            train(corpus, fold, config, fold_folder(run_folder, number), progress=False)
    return cross_validate(open_runs(run_folder), corpus)
