"""``biomechau experiment default-detector``: the detector that ships with the package, made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from biomechau.commands.command import Command
from biomechau.commands.terminal import print_lines, progress_bar


@dataclass(frozen=True)
class DefaultDetector(Command):
    """Make the default detector of the package again, from seeds: simulate, train, test, and write its card.

    The same bytes as those that ship on a machine of the same kind with the same versions. Ten to twenty minutes.
    """

    out: Annotated[Path, arg(metavar="DIR", help="Folder to make: a run, with card.md and movements.json.")]
    people: Annotated[
        Literal["all", "fitted"],
        arg(help='Simulated people to train on; "fitted" for the former ones, with trackers that fit shapes.'),
    ] = "all"

    def run(self) -> None:
        """Make it."""
        from biomechau.training.experiments.default_detector import FITTED_PEOPLE, Recipe, make_default_detector

        recipe = Recipe(people=FITTED_PEOPLE) if self.people == "fitted" else Recipe()
        with progress_bar("making the default detector") as progress:
            found = make_default_detector(self.out, recipe, progress)
        for group in ("single", "one_sided", "paired"):
            print_lines(f"{group.replace('_', '-')} movements named rightly: {found[group]['rightly']:.1%}")
        print_lines(f"wrote {self.out}")
