"""One function that reads any recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from biomechau.corpus.csv_table import read_header
from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.live_link import read_live_link
from biomechau.corpus.mediapipe import MEDIAPIPE_SHAPES, NEUTRAL, read_mediapipe
from biomechau.corpus.mesh_axes import SAME_AXES
from biomechau.corpus.mesh_sequence import read_mesh_sequence
from biomechau.corpus.npz_sequence import read_npz
from biomechau.corpus.py_feat import FEX_COLUMNS, read_py_feat
from biomechau.rig import FaceRig


def read_sequence(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    *,
    axes: str = SAME_AXES,
) -> FaceSequence:
    """Read a recording at its own frame rate: ``.csv``, ``.npz``, or a folder of OBJ or PLY files.

    A CSV file is of Live Link Face, MediaPipe or py-feat 2; the header tells which.

    Args:
        path: file or folder.
        rig: the face; needed for meshes.
        fps: frame rate of the recording, where the file does not tell it or tells it wrongly [1/s]; for Live Link Face
            that of the timecodes.
        rigid: fit the head's rigid motion too, and take it out (meshes only).
        scale: centimetres per unit of the recording (meshes only).
        progress: called with (frames done, frames in all); meshes only.
        axes: which axes of the recording are the rig's x, y and z, as ``x,z,-y`` (meshes only).

    Raises:
        ValueError: a file of another kind, options for meshes without any, meshes without a rig, mesh files without a
            frame rate, or what the reader of its kind finds.
        OSError: the file cannot be read.
    """
    path = Path(path)
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
    raise ValueError(f"{path}: expected a .csv or .npz file or a folder of OBJ or PLY files")


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
