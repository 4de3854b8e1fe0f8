"""``biomechau simulate``: a labelled corpus of simulated people."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, arg

from biomechau.commands.command import Command, Switch, load_rig
from biomechau.commands.terminal import print_lines, progress_bar
from biomechau.corpus.simulator import SimulationConfig


@dataclass(frozen=True)
class Simulate(Command):
    """Make a corpus of simulated people: tracked motion, action-unit labels and the true muscle forces.

    The rig needs shapes named as in ARKit. The same seed gives the same corpus.
    """

    out: Annotated[Path, arg(metavar="CORPUS", help="Corpus folder to create.")]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    overwrite: Annotated[Switch, arg(help="Replace an existing corpus at CORPUS.")] = False
    simulation: OmitArgPrefixes[SimulationConfig] = field(default_factory=SimulationConfig)

    def run(self) -> None:
        """Simulate and write."""
        from biomechau.corpus.simulator import write_simulated_corpus

        config = self.simulation
        with progress_bar("simulating") as progress:
            write_simulated_corpus(load_rig(self.rig), self.out, config, progress, self.overwrite)
        count = config.subjects * config.sequences
        print_lines(f"{self.out}: {config.subjects} subjects, {count} sequences, {count * config.frames:,} frames")
