"""``biomechau forces``: the muscle forces behind a capture."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau.analysis import analyse
from biomechau.commands.command import Command, Switch, load_rig
from biomechau.commands.terminal import forces_notes, forces_table, progress_bar, say, show, tell
from biomechau.corpus import read_sequence
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.physics import InverseOptions, PhysicsConfig
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.output import to_json, write_report
from biomechau.rig import Muscles


@dataclass(frozen=True)
class Forces(Command):
    """Find the muscle forces behind a capture by inverse dynamics; nothing is trained.

    Writes forces.csv, summary.json and forces.png.
    """

    input: Annotated[
        str,
        Positional,
        arg(metavar="INPUT", help="Live Link Face, MediaPipe or py-feat 2 .csv, .npz, OBJ or PLY folder, or video."),
    ]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-forces")
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use in place of the built-in one.")] = None
    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate of the recording, where the file does not tell it [1/s].")
    ] = None
    rigid: Annotated[Switch, arg(help="Fit the head's rigid motion too, and take it out (meshes only).")] = False
    scale: Annotated[float, arg(help="Centimetres per unit of the recorded meshes.")] = 1.0
    axes: Annotated[
        str,
        arg(
            metavar="AXES",
            help="Which axes of the recorded meshes are the rig's x, y and z: --axes=x,z,-y where z is up and -y the "
            "front.",
        ),
    ] = SAME_AXES
    face: Annotated[
        int | Literal["only"] | None,
        arg(
            metavar="N",
            help='Face of a video to take: the largest is 1 and the default; "only" looks for a single face, which '
            "MediaPipe then smooths over time.",
        ),
    ] = None
    model: Annotated[
        Path | None, arg(metavar="FILE", help='MediaPipe\'s face_landmarker.task, for videos; see "biomechau track".')
    ] = None
    paper: Annotated[Switch, arg(help="Physics to the letter of the paper; beside it only --fps may be given.")] = False
    json: Annotated[Switch, arg(help="Print the summary as JSON in place of the table.")] = False
    physics: OmitArgPrefixes[PhysicsConfig] = field(default_factory=PhysicsConfig)
    inverse: OmitArgPrefixes[InverseOptions] = field(default_factory=InverseOptions)

    def run(self) -> None:
        """Read, invert, write, print."""
        config = self.physics
        if self.paper:
            if config != PhysicsConfig(fps=config.fps):
                raise ValueError("--paper sets every option of the physics but --fps; leave the others out")
            config = PhysicsConfig.paper(config.fps)
        rig = load_rig(self.rig)
        muscles = None if self.muscles is None else Muscles.load(self.muscles)
        with progress_bar("reading", self.json) as progress:
            sequence = read_sequence(
                self.input,
                rig,
                self.recorded_fps,
                self.rigid,
                self.scale,
                progress,
                axes=self.axes,
                face=self.face,
                model=self.model,
            )
        with progress_bar("inverse dynamics", self.json) as progress:
            found = analyse(sequence, rig, config, self.inverse, muscles, progress)
        summary = found.summary()
        summary["input"]["path"], summary["rig"]["path"] = self.input, self.rig
        for warning in found.warnings:
            tell("warning", warning)
        written = write_report(found, summary, self.out)
        if not viz_available():
            tell("note", MISSING_VIZ)
        if self.json:
            print(to_json(summary))
        else:
            show(forces_table(found, summary))
            say(*forces_notes(summary), *(f"wrote {path}" for path in written))
