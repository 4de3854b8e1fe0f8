"""The command ``biomechau``. Its options are generated from the dataclasses below."""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, arg, subcommand

from biomechau import __version__
from biomechau.corpus import read_sequence
from biomechau.files import replacing
from biomechau.physics import InverseOptions, PhysicsConfig
from biomechau.reports.demo import demonstrate
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.forces_report import analyse, summarise
from biomechau.reports.output import to_json, write_report
from biomechau.reports.rig_report import describe_rig
from biomechau.reports.terminal import forces_notes, forces_table, progress_bar, recovery_table, rig_table, tell
from biomechau.rig import FaceRig, Muscles
from biomechau.rig.ict import NEUTRAL

DESCRIPTION = f"""Muscle forces from 3D facial motion, through a physical model of the face.

biomechau {__version__} ("biomechau --version"). Try "biomechau demo", then "biomechau forces capture.csv"."""

Switch = FlagCreatePairsOff[bool]


@dataclass(frozen=True)
class Command:
    """What every command takes."""

    debug: Annotated[Switch, arg(help="Show the traceback of an error.")] = field(default=False, kw_only=True)


@dataclass(frozen=True)
class RigImport(Command):
    """Make a rig file from an ICT-FaceKit folder, a folder of OBJ files, or the built-in face."""

    src: Annotated[str, Positional, arg(metavar="SRC", help='FaceXModel or OBJ folder, "builtin" or "builtin:9409".')]
    out: Annotated[Path, arg(metavar="FILE", help="Rig file to write (.safetensors).")]
    region: Annotated[
        Literal["face", "head", "all"],
        arg(help="Part of the ICT head: face, head and neck, or eyes and teeth too."),
    ] = "face"
    no_identity: Annotated[Switch, arg(help="Leave the ICT identity modes out.")] = False
    neutral: Annotated[str, arg(help="Name of the neutral in an OBJ folder.")] = "Neutral"
    scale: Annotated[float, arg(help="Centimetres per unit of an OBJ folder.")] = 1.0

    def run(self) -> None:
        """Read the source, write the rig file."""
        folder = Path(self.src)
        with progress_bar("reading shapes") as progress:
            if (folder / NEUTRAL).is_file():
                rig = FaceRig.from_ict(folder, self.region, not self.no_identity, progress)
            elif folder.is_dir():
                rig = FaceRig.from_obj_directory(folder, self.neutral, self.scale, progress)
            elif (builtin := _builtin(self.src)) is not None:
                rig = builtin
            else:
                raise FileNotFoundError(f'{self.src}: expected a FaceXModel folder, an OBJ folder or "builtin"')
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rig.save(self.out)
        print(f"{self.out}: {rig.num_vertices:,} vertices, {rig.num_shapes} shapes, {len(rig.identity)} identity modes")


@dataclass(frozen=True)
class RigInfo(Command):
    """Show what a rig holds: sizes, shapes, muscles found and missing, coverage, conditioning."""

    file: Annotated[str, Positional, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')]
    json: Annotated[Switch, arg(help="Print JSON.")] = False

    def run(self) -> None:
        """Print the table, or JSON."""
        description = describe_rig(load_rig(self.file))
        if self.json:
            print(to_json({"file": self.file, **description}))
        else:
            Console().print(rig_table(self.file, description))


@dataclass(frozen=True)
class RigShow(Command):
    """Draw the neutral face and its shapes at full activation."""

    file: Annotated[str, Positional, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')]
    out: Annotated[Path, arg(metavar="PNG", help="Picture to write.")]
    shape: Annotated[tuple[str, ...], arg(metavar="NAME ...", help="Shapes to draw; all if none is named.")] = ()

    def run(self) -> None:
        """Render the contact sheet."""
        if not viz_available():
            raise ImportError(MISSING_VIZ)
        from biomechau.reports.pictures import draw_shapes

        rig = load_rig(self.file)
        rig.shape_indices(self.shape)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar("drawing") as progress, replacing(self.out) as partial:
            draw_shapes(rig, partial, Path(self.file).name, self.shape, progress)
        print(f"wrote {self.out}")


@dataclass(frozen=True)
class Forces(Command):
    """Find the muscle forces behind a capture by inverse dynamics; nothing is trained.

    Writes forces.csv, summary.json and forces.png.
    """

    input: Annotated[str, Positional, arg(metavar="INPUT", help="Live Link Face .csv, .npz, or folder of OBJ meshes.")]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    out: Annotated[Path, arg(metavar="DIR", help="Folder to write.")] = Path("biomechau-forces")
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use in place of the built-in one.")] = None
    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate of the recording, where the file does not tell it [1/s].")
    ] = None
    rigid: Annotated[Switch, arg(help="Fit the head's rigid motion too, and take it out (meshes only).")] = False
    scale: Annotated[float, arg(help="Centimetres per unit of the recorded meshes.")] = 1.0
    paper: Annotated[Switch, arg(help="Physics to the letter of the paper; beside it only --fps may be given.")] = False
    json: Annotated[Switch, arg(help="Print the summary as JSON in place of the table.")] = False
    physics: PhysicsConfig = field(default_factory=PhysicsConfig)
    inverse: InverseOptions = field(default_factory=InverseOptions)

    def run(self) -> None:
        """Read, invert, write, print."""
        config = self.physics
        if self.paper:
            if config != PhysicsConfig(fps=config.fps):
                raise ValueError("--paper sets every option of the physics but --fps; leave the others out")
            config = PhysicsConfig.paper(config.fps)
        rig = load_rig(self.rig)
        muscles = None if self.muscles is None else Muscles.load(self.muscles)
        with progress_bar("reading meshes", self.json) as progress:
            sequence = read_sequence(self.input, rig, self.recorded_fps, self.rigid, self.scale, progress)
        with progress_bar("inverse dynamics", self.json) as progress:
            report = analyse(sequence, rig, config, self.inverse, muscles, progress)
        summary = summarise(report)
        summary["input"]["path"], summary["rig"]["path"] = self.input, self.rig
        for warning in report.warnings:
            tell("warning", warning)
        written = write_report(report, summary, self.out)
        if not viz_available():
            tell("note", MISSING_VIZ)
        if self.json:
            print(to_json(summary))
        else:
            Console().print(forces_table(report, summary))
            print(*forces_notes(summary), *(f"wrote {path}" for path in written), sep="\n")


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


Rig = Annotated[
    Annotated[RigImport, subcommand("import")]
    | Annotated[RigInfo, subcommand("info")]
    | Annotated[RigShow, subcommand("show")],
    subcommand("rig", description="Make, inspect and draw rig files."),
]
Commands = Annotated[Forces, subcommand("forces")] | Annotated[Demo, subcommand("demo")] | Rig


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: of the command line, without the program's name; those of the process if not given.

    Returns:
        Exit code: 0; 2 after an error, which is one line on stderr; 130 when interrupted; 1 when the reader of the
        output has gone.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if arguments == ["--version"]:
            print(f"biomechau {__version__}")
        else:
            parse(arguments).run()
        sys.stdout.flush()
    except SystemExit as end:  # after --help
        return int(end.code or 0)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # What is still buffered must not fail again when Python shuts down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if "--debug" in arguments:
            traceback.print_exc()
        tell("error", _in_words(error))
        return 2
    return 0


def parse(arguments: Sequence[str]) -> RigImport | RigInfo | RigShow | Forces | Demo:
    """The command that the arguments name.

    Raises:
        SystemExit: help was asked for and printed.
        ValueError: the arguments are wrong; the message says how.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed):
            return tyro.cli(
                Commands, prog="biomechau", description=DESCRIPTION, args=list(arguments), config=(OmitArgPrefixes,)
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ValueError(_unframed(printed.getvalue())) from None


def _unframed(message: str) -> str:
    """The words of a framed message of tyro: its title and its first section, without the hints below."""
    # The box-drawing characters. Without them a rule between sections is an empty line.
    lines = [re.sub("[\u2500-\u257f]", "", line).strip() for line in message.splitlines()]
    title, *body = lines or [""]
    words = " ".join(takewhile(bool, body))
    words = re.sub(r"^Error parsing \w[^:]*: ", "", words)  # a check of a dataclass, which names no option
    words = words if words.startswith(title) else f"{title}: {words}"
    return f'{words.rstrip(".")} (see "biomechau --help")'


def _in_words(error: Exception) -> str:
    """One line for the person who made the error; what nobody foresaw keeps the name of its kind."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    expected = isinstance(error, (ValueError, TypeError, OSError, ImportError))
    return str(error) if expected and str(error) else f"{type(error).__name__}: {error}"


def load_rig(text: str) -> FaceRig:
    """The rig that a command line names: a file, ``builtin``, or ``builtin:<number of vertices>``.

    Raises:
        ValueError: not a rig file, or an impossible number of vertices.
        OSError: the file cannot be read.
    """
    rig = _builtin(text)
    return FaceRig.load(text) if rig is None else rig


def _builtin(text: str) -> FaceRig | None:
    name, colon, count = text.partition(":")
    if name != "builtin":
        return None
    if not colon:
        return FaceRig.builtin()
    if not count.isdecimal():
        raise ValueError(f"{text}: expected a number of vertices after the colon, as in builtin:9409")
    return FaceRig.builtin(int(count))


if __name__ == "__main__":
    sys.exit(main())
