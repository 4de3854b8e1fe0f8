"""One function that reads any recording."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from biomechau.corpus.csv_table import read_header
from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.live_link import read_live_link
from biomechau.corpus.mediapipe import MEDIAPIPE_SHAPES, NEUTRAL, read_mediapipe
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.mesh_sequence import read_mesh_sequence
from biomechau.corpus.npz_sequence import read_npz
from biomechau.corpus.py_feat import FEX_COLUMNS, read_py_feat
from biomechau.corpus.tracking import MOST_FACES, FollowedVideo, face_landmarker, follow_faces
from biomechau.corpus.video import is_video
from biomechau.rig import FaceRig
from biomechau.rig.mesh_file import MESH_ENDINGS


def read_sequence(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    *,
    axes: str = SAME_AXES,
    face: int | Literal["only"] | None = None,
    model: str | Path | None = None,
) -> FaceSequence:
    """Read a recording at its own frame rate: ``.csv``, ``.npz``, a folder of OBJ or PLY files, or a video.

    A CSV file is of Live Link Face, MediaPipe or py-feat 2; the header tells which. The face of a video, or of a folder
    of numbered pictures, is tracked by MediaPipe (:func:`biomechau.corpus.tracking.track_video`).

    Args:
        path: file or folder.
        rig: the face; needed for meshes.
        fps: frame rate of the recording, where the file does not tell it or tells it wrongly [1/s]; for Live Link Face
            that of the timecodes.
        rigid: fit the head's rigid motion too, and take it out (meshes only).
        scale: centimetres per unit of the recording (meshes only).
        progress: called with (frames done, frames in all); meshes and videos only.
        axes: which axes of the recording are the rig's x, y and z, as ``x,z,-y`` (meshes only).
        face: number of the face, the largest is 1, or ``"only"`` (videos only).
        model: MediaPipe's, see :func:`biomechau.corpus.landmarker_model.find_model` (videos only).

    Raises:
        ImportError: what tracks a video is not installed.
        ValueError: a file of another kind, an option without use for it, meshes without a rig, mesh files without a
            frame rate, or what the reader of its kind finds.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if is_recorded_video(path):
        _refuse_placement(path, rigid, scale, axes)
        return _read_video(path, model, fps, face, progress)
    if face is not None or model is not None:
        raise ValueError(f"{path}: is no video, so --face and --model have nothing to do")
    if path.is_dir():
        if rig is None:
            raise ValueError(f"{path}: a rig must be given to fit meshes")
        if fps is None:
            raise ValueError(f"{path}: fps must be given (--recorded-fps): mesh files do not tell it")
        return read_mesh_sequence(path, rig, fps, rigid, scale, progress, axes)
    if path.suffix.lower() == ".csv":
        _refuse_placement(path, rigid, scale, axes)
        return csv_reader(path)(path, fps)
    if path.suffix.lower() == ".npz":
        sequence = read_npz(path, rig, fps, rigid, scale, progress, axes=axes)
        if sequence.left_over is None:
            _refuse_placement(path, rigid, scale, axes)
        return sequence
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    raise ValueError(f"{path}: expected a .csv or .npz file, a folder of OBJ or PLY files, or a video")


def is_recorded_video(path: Path) -> bool:
    """Whether a path is a video, or a folder of pictures and not of meshes, which may have textures."""
    return is_video(path) and not (
        path.is_dir() and any(child.suffix.lower() in MESH_ENDINGS for child in path.iterdir())
    )


def read_tracked(found: FollowedVideo, face: int | None = None) -> FaceSequence:
    """One face of a video as a recording, with what the user should know in ``notes``.

    Args:
        found: its faces.
        face: number of the face, from 1; the largest if not given.

    Raises:
        ValueError: there is no such face.
    """
    video = Path(found.video)
    with TemporaryDirectory() as folder:
        table = Path(folder) / f"{video.stem}.csv"
        found.write(found.face(face), table)
        sequence = read_mediapipe(table)
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


def _refuse_placement(path: Path, rigid: bool, scale: float, axes: str) -> None:
    """An option without effect is an error."""
    if rigid or scale != 1 or axes != SAME_AXES:
        raise ValueError(f"{path}: holds no meshes, so --rigid, --scale and --axes have nothing to place")


def csv_reader(path: Path) -> Callable[[Path, float | None], FaceSequence]:
    """The reader of a CSV recording, chosen by its header; Live Link Face's, with its errors, where nothing fits.

    Raises:
        ValueError: not a CSV text file, or OpenFace's, which has no blendshapes.
        OSError: the file cannot be read.
    """
    header = set(read_header(path))
    if "timecode" in {name.lower() for name in header}:
        return read_live_link
    if FEX_COLUMNS.intersection(name.lower() for name in header):
        return read_py_feat
    if header.intersection((NEUTRAL, *MEDIAPIPE_SHAPES)):
        return read_mediapipe
    if header.intersection(("AU01_r", "AU01_c", "AU12_r", "AU12_c")):
        raise ValueError(
            f"{path}: an OpenFace file, which holds no blendshapes but action units (read_action_units reads them)"
        )
    return read_live_link
