"""``biomechau forces``: the muscle forces behind a recording."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau.commands._reading_options import ReadingOptions
from biomechau.commands._rest_options import RestOptions
from biomechau.commands.command import Command, Deviations, Switch, check_deviations, load_rig
from biomechau.commands.terminal import print_lines, print_message, print_tables, progress_bar
from biomechau.physics import InverseOptions, PhysicsConfig


@dataclass(frozen=True)
class Forces(Command):
    """Compute the muscle forces behind a recording by inverse dynamics; no training, no labels.

    Writes forces.csv, summary.json, forces.png and replay.safetensors (for "biomechau report"). A force of 1 holds a
    muscle's own expression at full strength.
    """

    input: Annotated[
        str,
        Positional,
        arg(
            metavar="INPUT",
            help="Table of blendshapes (.csv), .json, .npz, take of Live Link Face (folder, .zip), OBJ or PLY folder, "
            "or video.",
        ),
    ]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-forces")
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use instead of the built-in one.")] = None
    paper: Annotated[Switch, arg(help="Physics exactly as in the paper; of its options only --fps.")] = False
    sd: Deviations = False
    json: Annotated[Switch, arg(help="Print the summary as JSON instead of the table.")] = False
    reading: OmitArgPrefixes[ReadingOptions] = field(default_factory=ReadingOptions)
    rest: OmitArgPrefixes[RestOptions] = field(default_factory=RestOptions)
    physics: OmitArgPrefixes[PhysicsConfig] = field(default_factory=PhysicsConfig)
    inverse: OmitArgPrefixes[InverseOptions] = field(default_factory=InverseOptions)

    def run(self) -> None:
        """Read, invert, write, print."""
        config = self.physics
        check_deviations(self.sd, self.inverse)
        self.rest.check(self.inverse.neutral)
        if self.paper:
            if config != PhysicsConfig(fps=config.fps):
                raise ValueError("--paper sets all options of the physics except --fps; leave the others out")
            if self.inverse.metric == "learned":
                raise ValueError("--metric learned knows the physics of this package, not that of --paper: choose one")
            config = PhysicsConfig.paper(config.fps)
        from biomechau.analysis import analyse
        from biomechau.commands._metric_cache import learned_metric
        from biomechau.commands._tables import forces_notes, forces_table
        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.reports.output import to_json, write_report
        from biomechau.rig import Muscles

        rig = load_rig(self.rig)
        muscles = None if self.muscles is None else Muscles.load(self.muscles)
        with progress_bar("reading", self.json) as progress:
            sequence = self.reading.read(self.input, rig, progress)
        neutral = self.rest.source(self.reading, rig)
        learned = learned_metric(rig, muscles, config, self.inverse, self.rig, self.json)
        with progress_bar("inverse dynamics", self.json) as progress:
            found = analyse(sequence, rig, config, self.inverse, muscles, progress, learned, neutral, self.sd)
        summary = found.summary()
        summary["input"]["path"], summary["rig"]["path"] = self.input, self.rig
        for warning in found.warnings:
            print_message("warning", warning)
        written = write_report(found, summary, self.out)
        if not viz_available():
            print_message("note", MISSING_VIZ)
        if self.json:
            print(to_json(summary))
        else:
            print_tables(forces_table(found, summary))
            print_lines(*forces_notes(summary), *(f"wrote {path}" for path in written))
