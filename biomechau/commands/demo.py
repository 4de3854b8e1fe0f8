"""``biomechau demo``: the package shown on a made performance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from biomechau.commands.command import Command, Switch
from biomechau.reports.demo import demonstrate
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.forces_report import summarise
from biomechau.reports.learning_demo import learn
from biomechau.reports.output import write_report
from biomechau.reports.scores import scores_notes, scores_table
from biomechau.reports.terminal import progress_bar, recovery_table, tell
from biomechau.rig import FaceRig


@dataclass(frozen=True)
class Demo(Command):
    """Show the package on the built-in face, in a minute or two: forces first, then action units.

    Moves the face by known muscle forces, adds noise, recovers the forces, and prints how well: forces.csv,
    summary.json, forces.png and demo.png. Then simulates a small corpus, trains a detector on it, and prints its F1 on
    people that it was not trained on: corpus, run and scores. It is a short training on few people; the full size is
    "biomechau simulate" and "biomechau train".
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

        written = write_report(report, summary, self.out, draw)
        if not viz_available():
            tell("note", MISSING_VIZ)
        Console().print(recovery_table(demonstration))
        print(*(f"wrote {path}" for path in written), sep="\n", flush=True)
        if not self.no_training:
            self._train()

    def _train(self) -> None:
        scores = learn(FaceRig.builtin(self.num_vertices), self.out, progress_bar)
        scores.save(self.out / "scores")
        Console().print(scores_table(scores))
        print(*scores_notes(scores), f"wrote {self.out / 'scores'}", sep="\n")
        print(f"try: biomechau predict capture.csv --run {self.out / 'run'} --out prediction")
