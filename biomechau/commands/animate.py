"""``biomechau animate``: the motion that follows from muscle forces."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from biomechau.commands.command import Command, PhysicsOptions, Switch, load_rig
from biomechau.commands.terminal import print_lines, print_message, progress_bar
from biomechau.physics import PhysicsConfig

if TYPE_CHECKING:
    from biomechau.analysis import Animation

# Fewer forces per second are moments of a motion, between which this rate is interpolated [1/s].
_FEWEST, _USUAL = 10.0, 25.0
_FORMATS = ".csv (Live Link Face), .glb, .mp4, or a folder for OBJ files"


@dataclass(frozen=True)
class Animate(Command):
    """Move a face by muscle forces: those of a recording, edited, or made from nothing.

    The face starts at rest. --out decides what is written: a table with the columns of Live Link Face (.csv), morph
    targets with an animation (.glb), a video (.mp4), or a folder of numbered OBJ files.
    """

    forces: Annotated[
        Path,
        Positional,
        arg(
            metavar="FORCES.csv",
            help="Table of forces: a column timestamp [s] and one column per muscle, as forces.csv.",
        ),
    ]
    out: Annotated[Path, arg(metavar="FILE", help=f"{_FORMATS}.")]
    rig: Annotated[str, arg(metavar="FILE", help='Rig file, "builtin" or "builtin:9409".')] = "builtin"
    muscles: Annotated[Path | None, arg(metavar="CSV", help="Muscle table to use instead of the built-in one.")] = None
    mirror: Annotated[Switch, arg(help="Exchange the forces of left and right.")] = False
    gain: Annotated[
        UseAppendAction[tuple[str, ...]],
        arg(
            metavar="MUSCLE=FACTOR",
            help="Multiply the force of a muscle, such as zygomaticus_major_left=0.5; after --mirror. May be repeated.",
        ),
    ] = ()
    recorded_fps: Annotated[
        float | None,
        arg(metavar="FPS", help="Frame rate of the forces [1/s], instead of their timestamps."),
    ] = None
    fps: Annotated[
        float | None,
        arg(
            metavar="FPS",
            help=f"Frame rate of the animation [1/s]; if not given, that of the forces, or {_USUAL:g} if theirs is "
            f"below {_FEWEST:g}.",
        ),
    ] = None
    physics: OmitArgPrefixes[PhysicsOptions] = field(default_factory=PhysicsOptions)

    def run(self) -> None:
        """Read, move, write."""
        gains = _gains(self.gain)
        write = _FOLDER if self.out.is_dir() or not self.out.suffix else self.out.suffix.lower()
        if write not in (*_FILES, _FOLDER):
            raise ValueError(f"{self.out}: expected {_FORMATS}; found {self.out.suffix}")
        if write == ".glb":
            from biomechau.rig.gltf_export import MISSING_EXPORT, export_available

            if not export_available():
                raise ImportError(MISSING_EXPORT)
        animation = self._animation(gains)
        if write != _FOLDER:
            self.out.parent.mkdir(parents=True, exist_ok=True)
        _write(animation, self.out, write)
        print_lines(f"wrote {self.out}: {len(animation)} frames at {animation.fps:g} fps")

    def _animation(self, gains: dict[str, float]) -> Animation:
        import warnings

        from biomechau.analysis import Animation, animate
        from biomechau.analysis.animation import mirrored, with_gains
        from biomechau.corpus.force_table import read_forces
        from biomechau.physics import FaceDynamics
        from biomechau.rig import Distribution, Muscles

        rig = load_rig(self.rig)
        muscles = Muscles.facs() if self.muscles is None else Muscles.load(self.muscles)
        match = muscles.match(rig.names)
        vector = self.physics.force == "vector"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # muscles without shapes: those with forces are errors
            distribution = Distribution.from_rig(rig, muscles)
        table = read_forces(self.forces, distribution.muscles.names, self.recorded_fps, vector, match.left_out)
        for note in table.notes:
            print_message("note", note)
        rate = table.fps if table.fps is not None and table.fps >= _FEWEST else _USUAL
        config = PhysicsConfig(**{**asdict(self.physics), "fps": rate if self.fps is None else self.fps})
        for warning in _other_physics(self.forces, config):
            print_message("warning", warning)
        forces = table.resample(config.fps)
        if self.mirror:
            forces = mirrored(forces, distribution.muscles, rig.axes[0])
        forces = with_gains(forces, distribution.muscles, gains)
        dynamics = FaceDynamics(rig, distribution, config)
        return Animation.of(rig, dynamics, animate(dynamics, forces))


_FOLDER = "folder"
_FILES = (".csv", ".glb", ".mp4")


def _write(animation: Animation, out: Path, kind: str) -> None:
    from biomechau.reports.animation_files import (
        write_animated_glb,
        write_live_link,
        write_obj_sequence,
        write_video,
    )

    if kind == ".csv":
        values, notes = animation.arkit()
        for note in notes:
            print_message("warning", note)
        write_live_link(values, animation.fps, out)
    elif kind == ".glb":
        write_animated_glb(animation, out)
    else:
        with progress_bar("writing") as progress:
            (write_video if kind == ".mp4" else write_obj_sequence)(animation, out, progress)


def _gains(texts: tuple[str, ...]) -> dict[str, float]:
    """The factor of each muscle."""
    from biomechau.file_errors import quote

    gains: dict[str, float] = {}
    for text in texts:
        name, equals, factor = text.partition("=")
        try:
            gain = float(factor)
        except ValueError:
            equals, gain = "", 0.0
        if not equals or not name:
            raise ValueError(f"--gain must be MUSCLE=FACTOR, as in zygomaticus_major_left=0.5, got {quote(text)}")
        if name in gains:
            raise ValueError(f"--gain of {name} is given twice")
        gains[name] = gain
    return gains


def _other_physics(forces: Path, config: PhysicsConfig) -> list[str]:
    """A warning if the summary beside the forces says that they were made with other physics."""
    from biomechau.file_errors import quote
    from biomechau.json_file import read_json_object

    summary = forces.parent / "summary.json"
    made = read_json_object(summary).get("physics") if summary.is_file() else None
    if not isinstance(made, dict):
        return []
    differ = [
        f"--{name.replace('_', '-')} {quote(made[name])}"
        for name, value in asdict(config).items()
        if name != "fps" and name in made and made[name] != value
    ]
    return [f"{summary} says that the forces were made with {', '.join(differ)}"] if differ else []
