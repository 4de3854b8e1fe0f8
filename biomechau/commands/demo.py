"""``biomechau demo``: the package shown on a made performance."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rich.console import Console
from tyro.conf import arg

from biomechau.commands.command import Command
from biomechau.reports.demo import demonstrate
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.forces_report import summarise
from biomechau.reports.output import write_report
from biomechau.reports.terminal import progress_bar, recovery_table, tell


@dataclass(frozen=True)
class Demo(Command):
    """Move the built-in face by known muscle forces, add noise, and recover the forces.

    Prints how well each muscle was recovered and writes forces.csv, summary.json, forces.png and demo.png.
    """

    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-demo")
    num_vertices: Annotated[int, arg(help="Vertices of the face, 1,000 to 50,000.")] = 5000
    seed: Annotated[int, arg(help="Seed of the noise.")] = 0

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
        print(*(f"wrote {path}" for path in written), sep="\n")
