"""``biomechau rig``: make, inspect and draw rig files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import OmitArgPrefixes, Positional, arg

from biomechau.commands.command import Command, Switch, builtin_rig, load_rig
from biomechau.commands.terminal import print_lines, print_message, print_tables, progress_bar
from biomechau.files import replacing
from biomechau.physics import InverseOptions, PhysicsConfig

if TYPE_CHECKING:
    from biomechau.rig import FaceRig


@dataclass(frozen=True)
class RigImport(Command):
    """Make a rig file from an ICT-FaceKit folder, a folder of OBJ or PLY files, glTF, or the built-in face.

    Says how large the face is, what looks wrong, and which muscles were found by the names of its shapes.
    """

    src: Annotated[
        str,
        Positional,
        arg(metavar="SRC", help='FaceXModel, OBJ or PLY folder, .glb or .gltf file, "builtin" or "builtin:9409".'),
    ]
    out: Annotated[Path, arg(metavar="FILE", help="Rig file to write (.safetensors).")]
    region: Annotated[
        Literal["face", "head", "all"],
        arg(help="Part of the ICT head: face, head and neck, or eyes and teeth too."),
    ] = "face"
    no_identity: Annotated[Switch, arg(help="Omit the ICT identity modes.")] = False
    neutral: Annotated[
        str | None,
        arg(metavar="NAME", help="Name of the neutral mesh in a folder; if not given, found by names such as Neutral."),
    ] = None
    scale: Annotated[
        float | None,
        arg(help="Centimetres per unit of the source; if not given, 1 for a folder of meshes, 100 for glTF (metres)."),
    ] = None

    metric: Annotated[
        Switch, arg(help="Also estimate the learned metric (forces --metric learned), a minute or two, and keep it.")
    ] = False

    def run(self) -> None:
        """Read the source, write the rig file."""
        from biomechau.rig import FaceRig
        from biomechau.rig.ict import NEUTRAL

        folder = Path(self.src)
        with progress_bar("reading shapes") as progress:
            if (folder / NEUTRAL).is_file():
                rig = FaceRig.from_ict(folder, self.region, not self.no_identity, progress)
            elif folder.is_dir():
                scale = 1.0 if self.scale is None else self.scale
                rig = FaceRig.from_obj_directory(folder, self.neutral, scale, progress)
            elif folder.suffix.lower() in (".glb", ".gltf"):
                if self.neutral is not None:
                    raise ValueError("--neutral is for folders of meshes; in glTF it is the mesh itself")
                rig = FaceRig.from_gltf(folder, **({} if self.scale is None else {"scale": self.scale}))
            elif (builtin := builtin_rig(self.src)) is not None:
                rig = builtin
            else:
                raise FileNotFoundError(
                    f'{self.src}: expected a FaceXModel folder, a folder of meshes, a .glb or .gltf file or "builtin"'
                )
        self.out.parent.mkdir(parents=True, exist_ok=True)
        rig.save(self.out)
        self._tell(rig)
        if self.metric:
            self._add_metric(rig)

    def _add_metric(self, rig: FaceRig) -> None:
        from biomechau.commands._metric_cache import estimate_metric, model_of, packed
        from biomechau.tensor_file import add_tensors

        dynamics = model_of(rig)
        add_tensors(self.out, *packed(estimate_metric(rig, dynamics), dynamics))
        print_lines(f"{self.out}: holds the learned metric")

    def _tell(self, rig: FaceRig) -> None:
        from biomechau.analysis.rig_doubts import rig_doubts
        from biomechau.analysis.rig_summary import describe_muscles
        from biomechau.rig.names import shortened

        for key, words in (
            ("dropped_shapes", "equal to the neutral and left out"),
            ("older_versions", "older versions left out"),
            ("renamed", "renamed"),
            ("joined_vertices", "vertices that were split at seams, joined"),
            ("other_meshes", "other meshes with shapes, left out"),
        ):
            if names := rig.provenance.get(key):
                print_message("note", f"{words}: {shortened(names.split(', '))}")
        for doubt in rig_doubts(rig):
            print_message("warning", doubt)
        if not (muscles := describe_muscles(rig))["found"]:
            print_message(
                "warning", "no shape has a name that is known: forces need a table of muscles with yours (--muscles)"
            )
        low, high = (rig.neutral.double() @ rig.axes.T).aminmax(dim=0)
        width, height, depth = (high - low).tolist()
        print_lines(
            f"{self.out}: {rig.num_vertices:,} vertices, {rig.num_shapes} shapes, {len(rig.identity)} identity modes",
            f"{width:.4g} cm wide, {height:.4g} cm tall, {depth:.4g} cm deep",
            f"muscles found: {len(muscles['found'])} of the {muscles['of']} that ARKit's shapes can tell"
            + (f"; the others need the shapes {', '.join(muscles['needed'])}" if muscles["needed"] else ""),
        )


@dataclass(frozen=True)
class RigExport(Command):
    """Write a rig as glTF, with its shapes as morph targets, for Blender, Unreal, three.js and other programs.

    In metres, and without identity modes. "rig import" reads it back.
    """

    file: Annotated[str, Positional, arg(metavar="RIG", help='Rig file, "builtin" or "builtin:9409".')]
    out: Annotated[Path, arg(metavar="GLB", help="File to write (.glb).")]

    def run(self) -> None:
        """Write the file."""
        from biomechau.rig.gltf_export import write_glb

        if self.out.suffix.lower() != ".glb":
            raise ValueError(f"{self.out}: expected a file that ends in .glb")
        rig = load_rig(self.file)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        write_glb(rig, self.out)
        print_lines(f"wrote {self.out}: {rig.num_vertices:,} vertices, {rig.num_shapes} shapes")


@dataclass(frozen=True)
class RigInfo(Command):
    """Show the contents of a rig: sizes, shapes, muscles found and missing, coverage, conditioning."""

    file: Annotated[str, Positional, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')]
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to test instead of the built-in one.")] = None
    json: Annotated[Switch, arg(help="Print JSON.")] = False

    def run(self) -> None:
        """Print the table, or JSON."""
        from biomechau.analysis import describe_rig
        from biomechau.commands._tables import rig_table
        from biomechau.reports.output import to_json
        from biomechau.rig import Muscles

        muscles = None if self.muscles is None else Muscles.load(self.muscles)
        description = describe_rig(load_rig(self.file), muscles)
        if self.json:
            print(to_json({"file": self.file, **description}))
        else:
            print_tables(rig_table(self.file, description))


@dataclass(frozen=True)
class RigMuscles(Command):
    """Write the built-in table of muscles, to be edited and used with --muscles."""

    out: Annotated[Path, arg(metavar="CSV", help="Table to write.")]

    def run(self) -> None:
        """Write the table."""
        from biomechau.rig import Muscles

        muscles = Muscles.facs()
        self.out.parent.mkdir(parents=True, exist_ok=True)
        muscles.save(self.out)
        print_lines(f"{self.out}: {len(muscles)} muscles; test it on a rig with rig info RIG --muscles {self.out}")


@dataclass(frozen=True)
class RigShow(Command):
    """Draw the neutral face and its shapes at full activation."""

    file: Annotated[str, Positional, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')]
    out: Annotated[Path, arg(metavar="PNG", help="Picture to write.")]
    shape: Annotated[tuple[str, ...], arg(metavar="NAME ...", help="Shapes to draw; all if not given.")] = ()

    def run(self) -> None:
        """Render the contact sheet."""
        from biomechau.reports.figures import MISSING_VIZ, viz_available

        if not viz_available():
            raise ImportError(MISSING_VIZ)
        from biomechau.reports.picture_files import draw_shapes

        rig = load_rig(self.file)
        rig.shape_indices(self.shape)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        with progress_bar("drawing") as progress, replacing(self.out) as partial:
            draw_shapes(rig, partial, Path(self.file).name, self.shape, progress)
        print_lines(f"wrote {self.out}")


@dataclass(frozen=True)
class RigLeaks(Command):
    """Measure how much force inverse dynamics gives to other muscles while the shapes of one muscle move alone.

    Each muscle's shapes move to 0.8 and back, slowly (2 s) and fast (0.16 s). Prints the largest shares of the moving
    muscle's own force; --out draws all of them.
    """

    file: Annotated[str, Positional, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')]
    out: Annotated[Path | None, arg(metavar="PNG", help="Picture to write.")] = None
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to test instead of the built-in one.")] = None
    json: Annotated[Switch, arg(help="Print JSON.")] = False
    physics: OmitArgPrefixes[PhysicsConfig] = field(default_factory=PhysicsConfig)
    inverse: OmitArgPrefixes[InverseOptions] = field(default_factory=InverseOptions)

    def run(self) -> None:
        """Print the table, or JSON, and draw the picture."""
        import warnings

        import torch

        from biomechau.analysis import force_leaks
        from biomechau.commands._tables import leaks_table
        from biomechau.physics import FaceDynamics
        from biomechau.reports.figures import MISSING_VIZ, viz_available
        from biomechau.reports.leak_picture import draw_leaks
        from biomechau.reports.output import to_json
        from biomechau.rig import Distribution, Muscles

        if self.out is not None and not viz_available():
            raise ImportError(MISSING_VIZ)
        rig = load_rig(self.file)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # rig info lists the muscles that the rig has no shapes for
            muscles = None if self.muscles is None else Muscles.load(self.muscles)
            distribution = Distribution.from_rig(rig, muscles)
        dynamics = FaceDynamics(rig, distribution, self.physics, torch.float64)
        leaks = force_leaks(dynamics, self.inverse)
        if self.out is not None:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.out) as partial:
                draw_leaks(leaks, partial, f"{Path(self.file).name}: force that a muscle lends to others")
        if self.json:
            print(to_json({"file": self.file, **leaks.to_json()}))
        else:
            print_tables(leaks_table(self.file, leaks))
            if self.out is not None:
                print_lines(f"wrote {self.out}")
