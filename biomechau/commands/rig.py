"""``biomechau rig``: make, inspect and draw rig files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg

from biomechau.analysis import describe_rig
from biomechau.analysis.rig_doubts import rig_doubts
from biomechau.analysis.rig_summary import describe_muscles
from biomechau.commands.command import Command, Switch, builtin_rig, load_rig
from biomechau.commands.terminal import progress_bar, rig_table, say, show, tell
from biomechau.files import replacing
from biomechau.reports.figures import MISSING_VIZ, viz_available
from biomechau.reports.output import to_json
from biomechau.rig import FaceRig
from biomechau.rig.ict import NEUTRAL
from biomechau.rig.names import shortened


@dataclass(frozen=True)
class RigImport(Command):
    """Make a rig file from an ICT-FaceKit folder, a folder of OBJ or PLY files, or the built-in face.

    Says how large the face is, what looks wrong, and which muscles were found by the names of its shapes.
    """

    src: Annotated[
        str, Positional, arg(metavar="SRC", help='FaceXModel, OBJ or PLY folder, "builtin" or "builtin:9409".')
    ]
    out: Annotated[Path, arg(metavar="FILE", help="Rig file to write (.safetensors).")]
    region: Annotated[
        Literal["face", "head", "all"],
        arg(help="Part of the ICT head: face, head and neck, or eyes and teeth too."),
    ] = "face"
    no_identity: Annotated[Switch, arg(help="Leave the ICT identity modes out.")] = False
    neutral: Annotated[
        str | None, arg(metavar="NAME", help="Name of the neutral in a folder; found by its name if not given.")
    ] = None
    scale: Annotated[float, arg(help="Centimetres per unit of a folder of meshes.")] = 1.0

    def run(self) -> None:
        """Read the source, write the rig file."""
        folder = Path(self.src)
        with progress_bar("reading shapes") as progress:
            if (folder / NEUTRAL).is_file():
                rig = FaceRig.from_ict(folder, self.region, not self.no_identity, progress)
            elif folder.is_dir():
                rig = FaceRig.from_obj_directory(folder, self.neutral, self.scale, progress)
            elif (builtin := builtin_rig(self.src)) is not None:
                rig = builtin
            else:
                raise FileNotFoundError(f'{self.src}: expected a FaceXModel folder, a folder of meshes or "builtin"')
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rig.save(self.out)
        self._tell(rig)

    def _tell(self, rig: FaceRig) -> None:
        for key, words in (
            ("dropped_shapes", "equal to the neutral and left out"),
            ("older_versions", "older versions left out"),
            ("renamed", "renamed"),
        ):
            if names := rig.provenance.get(key):
                tell("note", f"{words}: {shortened(names.split(', '))}")
        for doubt in rig_doubts(rig):
            tell("warning", doubt)
        if not (muscles := describe_muscles(rig))["found"]:
            tell("warning", "no shape has a name that is known: forces need a table of muscles with yours (--muscles)")
        low, high = (rig.neutral.double() @ rig.axes.T).aminmax(dim=0)
        width, height, depth = (high - low).tolist()
        say(
            f"{self.out}: {rig.num_vertices:,} vertices, {rig.num_shapes} shapes, {len(rig.identity)} identity modes",
            f"{width:.4g} cm wide, {height:.4g} cm tall, {depth:.4g} cm deep",
            f"muscles found: {len(muscles['found'])} of {muscles['of']}"
            + (f"; the others need the shapes {', '.join(muscles['needed'])}" if muscles["needed"] else ""),
        )


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
            show(rig_table(self.file, description))


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
        from biomechau.reports.picture_files import draw_shapes

        rig = load_rig(self.file)
        rig.shape_indices(self.shape)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar("drawing") as progress, replacing(self.out) as partial:
            draw_shapes(rig, partial, Path(self.file).name, self.shape, progress)
        say(f"wrote {self.out}")
