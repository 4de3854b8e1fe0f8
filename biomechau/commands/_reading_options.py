"""Options of the commands that read recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg

from biomechau.commands.command import Switch

if TYPE_CHECKING:
    from biomechau.corpus import FaceSequence
    from biomechau.corpus.recordings import Recording
    from biomechau.rig import FaceRig


@dataclass(frozen=True)
class ReadingOptions:
    """How recordings are read (in Python: biomechau.corpus.read_sequence)."""

    recorded_fps: Annotated[
        float | None, arg(metavar="FPS", help="Frame rate of the recording, if the file has none [1/s].")
    ] = None
    count_rows: Annotated[
        Switch, arg(help="Take the rows of a table as frames at --recorded-fps, and ignore its timestamps.")
    ] = False
    face: Annotated[
        int | Literal["only"] | None,
        arg(
            metavar="N",
            help="Face to read where there are several: its face_id in a table; in a video 1 for the largest, which is "
            'the default, or "only" to look for a single one, which MediaPipe then smooths over time.',
        ),
    ] = None
    channels: Annotated[
        Path | None, arg(metavar="CSV", help="Table of channels and the shapes they drive: channel, shape, weight.")
    ] = None
    rigid: Annotated[Switch, arg(help="Fit and remove the rigid motion of the head (meshes only).")] = False
    scale: Annotated[float, arg(help="Centimetres per unit of the recorded meshes.")] = 1.0
    axes: Annotated[
        str,
        arg(
            metavar="AXES",
            help="Which axes of the recorded meshes are the rig's x, y and z: --axes=x,z,-y where z is up and -y the "
            "front.",
        ),
    ] = "x,y,z"
    model: Annotated[
        Path | None, arg(metavar="FILE", help='MediaPipe\'s face_landmarker.task, for videos; see "biomechau track".')
    ] = None

    def read(self, path: str | Path, rig: FaceRig, progress: Callable[[int, int], None] | None = None) -> FaceSequence:
        """Read a recording.

        Raises:
            ImportError, OSError, ValueError: as :func:`biomechau.corpus.read_sequence`.
        """
        from biomechau.corpus import ChannelTable, read_sequence

        return read_sequence(
            path,
            rig,
            self.recorded_fps,
            self.rigid,
            self.scale,
            progress,
            count_rows=self.count_rows,
            face=self.face,
            channels=None if self.channels is None else ChannelTable.load(self.channels),
            axes=self.axes,
            model=self.model,
        )

    def applying_to(self, recording: Recording) -> ReadingOptions:
        """The options without those that a recording of its kind has no use for."""
        unused = {name: getattr(_DEFAULT, name) for name, applies in _APPLIES.items() if not applies(recording)}
        if self.face == "only" and recording.kind != "video":
            unused["face"] = None
        return replace(self, **unused)

    def check_used(self, recordings: Iterable[Recording]) -> None:
        """Every option given must apply to a recording.

        Raises:
            ValueError: one applies to none; the message names it.
        """
        used = [self.applying_to(recording) for recording in recordings]
        for name in _APPLIES:
            default = getattr(_DEFAULT, name)
            if getattr(self, name) != default and all(getattr(one, name) == default for one in used):
                raise ValueError(f"--{name.replace('_', '-')} applies to none of the recordings")


_DEFAULT = ReadingOptions()


def _may_hold_meshes(recording: Recording) -> bool:
    return recording.kind == "meshes" or recording.path.suffix.lower() == ".npz"


def _has_rows(recording: Recording) -> bool:
    return recording.kind == "capture"


def _is_video(recording: Recording) -> bool:
    return recording.kind == "video"


def _may_hold_faces(recording: Recording) -> bool:
    return recording.kind == "video" or (
        recording.kind == "capture" and recording.path.suffix.lower() not in (".json", ".npz")
    )


# Recordings that an option has a meaning for, by option; the others concern all recordings.
_APPLIES: dict[str, Callable[[Recording], bool]] = {
    "count_rows": _has_rows,
    "face": _may_hold_faces,
    "rigid": _may_hold_meshes,
    "scale": _may_hold_meshes,
    "axes": _may_hold_meshes,
    "model": _is_video,
}
