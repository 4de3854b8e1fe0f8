"""``biomechau demo``: the package shown on a made performance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from biomechau.commands.command import Command, Switch
from biomechau.corpus import Corpus
from biomechau.files import replacing
from biomechau.reports.demo import Demonstration, demonstrate
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.forces_report import summarise
from biomechau.reports.html_report import demo_page
from biomechau.reports.learning_demo import learn
from biomechau.reports.output import write_report
from biomechau.reports.scores import scores_notes, scores_table
from biomechau.reports.terminal import progress_bar, recovery_table, say, show, tell
from biomechau.rig import FaceRig
from biomechau.training.runs import open_runs

PAGE = "report.html"


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
        report = demonstration.report
        summary = {**summarise(report), "recovery": demonstration.summary()}

        def draw(folder: Path) -> None:
            from biomechau.reports.pictures import draw_performance

            title = "Built-in face, a made performance: true and recovered muscle forces"
            draw_performance(report, demonstration.truth, demonstration.moments, folder / "demo.png", title)
            (folder / PAGE).write_text(demo_page(demonstration, summary), encoding="utf-8")

        written = write_report(report, summary, self.out, draw)
        if not viz_available():
            tell("note", MISSING_VIZ)
        show(recovery_table(demonstration))
        say(*(f"wrote {path}" for path in written), flush=True)
        if not self.no_training:
            self._train(demonstration, summary)
        if viz_available():
            say(f"open {self.out / PAGE} in a browser")

    def _train(self, demonstration: Demonstration, summary: dict[str, Any]) -> None:
        scores = learn(FaceRig.builtin(self.num_vertices), self.out, progress_bar)
        scores.save(self.out / "scores")
        show(scores_table(scores))
        say(*scores_notes(scores), f"wrote {self.out / 'scores'}")
        if viz_available():
            from biomechau.reports.sequence_choice import shown_sequences

            with progress_bar("choosing sequences") as progress:
                shown, _ = shown_sequences(open_runs(self.out / "run"), Corpus.open(self.out / "corpus"), (), progress)
            with replacing(self.out / PAGE) as partial:
                partial.write_text(demo_page(demonstration, summary, scores.summary(), shown), encoding="utf-8")
        say(f"try: biomechau predict capture.csv --run {self.out / 'run'} --out prediction")
