"""Reads any recording, with the reader of its kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from biomechau.corpus.blendshape_table import read_blendshape_table
from biomechau.corpus.channel_table import ChannelTable
from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.json_sequence import read_json_sequence
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.mesh_sequence import read_mesh_sequence
from biomechau.corpus.npz_sequence import read_npz
from biomechau.corpus.recordings import recording_kind
from biomechau.corpus.take_folder import find_table, read_zipped_table
from biomechau.corpus.tracking import MOST_FACES, FollowedVideo, face_landmarker, follow_faces
from biomechau.rig import FaceRig
from biomechau.rig.mesh_file import MESH_ENDINGS

_TABLES = (".csv", ".tsv", ".txt")
_NO_MESHES = "not meshes, so --rigid, --scale and --axes have no effect"


def read_sequence(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    *,
    count_rows: bool = False,
    face: int | Literal["only"] | None = None,
    channels: ChannelTable | None = None,
    axes: str = SAME_AXES,
    model: str | Path | None = None,
) -> FaceSequence:
    """Read a recording at its own frame rate.

    In a video or a folder of numbered pictures, the face is tracked by MediaPipe
    (:func:`biomechau.corpus.tracking.follow_faces`).

    Args:
        path: a table of blendshapes (``.csv``, ``.tsv``, ``.txt``), ``.json``, ``.npz``, the folder or the ``.zip`` of
            a take of Live Link Face, a folder of OBJ or PLY files, a video, or a folder of pictures.
        rig: the face; needed for meshes and with ``channels``.
        fps: frame rate of the recording, if the file does not contain it or is wrong [1/s]; for timecodes, their number
            of frames per second.
        rigid: fit the rigid motion of the head too, and remove it (meshes only).
        scale: centimetres per unit of the recording (meshes only).
        progress: called with (frames done, total frames); meshes and videos only.
        count_rows: treat the rows of a table as frames at an even rate, ``fps``, and ignore its times.
        face: the face to read, if there are several: its number in a table; in a video its rank, 1 the largest and the
            default, or ``"only"`` to look for a single one, which MediaPipe then smooths over time.
        channels: which channels drive which shapes of the rig, if their names differ.
        axes: which axes of the recording are the rig's x, y and z, such as ``x,z,-y`` (meshes only).
        model: MediaPipe's model, see :func:`biomechau.corpus.landmarker_model.find_model` (videos only).

    Raises:
        ImportError: a package for tracking videos is not installed.
        ValueError: the file is of another kind, an option does not apply to it, meshes come without a rig or a frame
            rate, or the reader of its kind reports an error.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if channels is not None and rig is None:
        raise ValueError("channels need a rig")
    wanted = (*(rig.names if rig is not None else ()), *(channels.channels if channels is not None else ()))
    ending = path.suffix.lower()
    data = None
    has_meshes = path.is_dir() and any(child.suffix.lower() in MESH_ENDINGS for child in path.iterdir())
    video = is_recorded_video(path)
    if model is not None and not video:
        raise ValueError(f"{path}: not a video, so MediaPipe's model has no effect (--model)")
    if face == "only" and not video:
        raise ValueError(f"{path}: not a video, so a single face cannot be looked for (--face only)")
    if (rigid or scale != 1 or axes != SAME_AXES) and not (has_meshes or ending == ".npz"):
        raise ValueError(f"{path}: {_NO_MESHES}")
    if has_meshes:
        _refuse(path, count_rows, face)
        return _driven(_read_meshes(path, rig, fps, rigid, scale, progress, axes), rig, channels)
    if video:
        _refuse(path, count_rows, None)
        return _driven(_read_video(path, model, fps, face, progress), rig, channels)
    number = face if isinstance(face, int) else None
    if path.is_dir():
        path, ending = find_table(path), ".csv"
    elif ending == ".zip":
        path, data = read_zipped_table(path)
        ending = ".csv"
    if ending in _TABLES:
        return _driven(read_blendshape_table(path, fps, count_rows, wanted, number, data), rig, channels)
    if ending == ".json":
        _refuse(path, False, face)
        return _driven(read_json_sequence(path, fps, count_rows, wanted), rig, channels)
    if ending == ".npz":
        _refuse(path, False, face)
        sequence = read_npz(path, rig, fps, rigid, scale, progress, count_rows, wanted, axes)
        if sequence.left_over is None and (rigid or scale != 1 or axes != SAME_AXES):
            raise ValueError(f"{path}: {_NO_MESHES}")
        return _driven(sequence, rig, channels)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if ending == ".npy":
        raise ValueError(
            f"{path}: a .npy file has no channel names and no frame rate: save it as .npz with coefficients, names and "
            "fps"
        )
    raise ValueError(
        f"{path}: expected a table of blendshapes (.csv, .tsv), .json, .npz, a take's folder or .zip, a folder of OBJ "
        "or PLY files, or a video"
    )


def _read_meshes(
    path: Path,
    rig: FaceRig | None,
    fps: float | None,
    rigid: bool,
    scale: float,
    progress: Callable[[int, int], None] | None,
    axes: str,
) -> FaceSequence:
    if rig is None:
        raise ValueError(f"{path}: a rig must be given to fit meshes")
    if fps is None:
        raise ValueError(f"{path}: fps must be given (--recorded-fps): mesh files do not contain it")
    return read_mesh_sequence(path, rig, fps, rigid, scale, progress, axes)


def is_recorded_video(path: Path) -> bool:
    """Whether a path is a video, or a folder of pictures without tables or meshes."""
    if not path.is_dir():
        return recording_kind(path) == "video"
    others = {".csv", *MESH_ENDINGS}
    return recording_kind(path) == "video" and not any(child.suffix.lower() in others for child in path.iterdir())


def read_tracked(found: FollowedVideo, face: int | None = None) -> FaceSequence:
    """One face of a video as a recording, with notes for the user.

    Args:
        found: the faces of the video.
        face: number of the face, from 1; the largest if not given.

    Raises:
        ValueError: there is no such face.
    """
    video = Path(found.video)
    with TemporaryDirectory() as folder:
        table = Path(folder) / f"{video.stem}.csv"
        found.write(found.face(face), table)
        sequence = read_blendshape_table(table)
    notes = (*found.notes(face is not None), *sequence.notes)
    return replace(sequence, name=video.stem, source=f"MediaPipe's blendshapes of {video.name}", notes=notes)


def _read_video(
    path: Path,
    model: str | Path | None,
    fps: float | None,
    face: int | Literal["only"] | None,
    progress: Callable[[int, int], None] | None,
) -> FaceSequence:
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    with face_landmarker(model, 1 if face == "only" else MOST_FACES) as tracker:
        found = follow_faces(path, tracker, progress, fps)
    return read_tracked(found, face if isinstance(face, int) else None)


def _driven(sequence: FaceSequence, rig: FaceRig | None, channels: ChannelTable | None) -> FaceSequence:
    return sequence if rig is None or channels is None else channels.drive(sequence, rig)


def _refuse(path: Path, count_rows: bool, face: int | str | None) -> None:
    """Raise ``ValueError`` for options that have no effect."""
    if count_rows:
        raise ValueError(f"{path}: not a table, so its rows cannot be counted (--count-rows)")
    if face is not None:
        raise ValueError(f"{path}: has only one face, so --face has no effect")
