"""One function that reads any recording."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from biomechau.corpus.blendshape_table import read_blendshape_table
from biomechau.corpus.channel_table import ChannelTable
from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.json_sequence import read_json_sequence
from biomechau.corpus.mesh_sequence import read_mesh_sequence
from biomechau.corpus.npz_sequence import read_npz
from biomechau.corpus.take_folder import find_table, read_zipped_table
from biomechau.rig import FaceRig

_TABLES = (".csv", ".tsv", ".txt")


def read_sequence(
    path: str | Path,
    rig: FaceRig | None = None,
    fps: float | None = None,
    rigid: bool = False,
    scale: float = 1.0,
    progress: Callable[[int, int], None] | None = None,
    *,
    count_rows: bool = False,
    face: int | None = None,
    channels: ChannelTable | None = None,
) -> FaceSequence:
    """Read a recording at its own frame rate.

    Args:
        path: a table of blendshapes (``.csv``, ``.tsv``, ``.txt``), ``.json``, ``.npz``, the folder or the ``.zip`` of
            a take of Live Link Face, or a folder of OBJ files.
        rig: the face; needed for meshes and with ``channels``.
        fps: frame rate of the recording, where the file does not tell it or tells it wrongly [1/s]; of timecodes the
            frames that they count a second.
        rigid: fit the head's rigid motion too, and take it out (meshes only).
        scale: centimetres per unit of the recording (meshes only).
        progress: called with (frames done, frames in all); meshes only.
        count_rows: the rows of a table are frames at an even rate, ``fps``, whatever times it has.
        face: number of the face to read, where a table has several.
        channels: which channels drive which shapes of the rig, where their names do not tell.

    Raises:
        ValueError: a file of another kind, an option that it has no use for, meshes without a rig, OBJ files without a
            frame rate, or what the reader of its kind finds.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if channels is not None and rig is None:
        raise ValueError("channels need a rig")
    wanted = (*(rig.names if rig is not None else ()), *(channels.channels if channels is not None else ()))
    ending = path.suffix.lower()
    data = None
    if path.is_dir():
        if any(child.suffix.lower() == ".obj" for child in path.iterdir()):
            _refuse(path, count_rows, face)
            return _driven(_read_meshes(path, rig, fps, rigid, scale, progress), rig, channels)
        path, ending = find_table(path), ".csv"
    elif ending == ".zip":
        path, data = read_zipped_table(path)
        ending = ".csv"
    if ending in _TABLES:
        return _driven(read_blendshape_table(path, fps, count_rows, wanted, face, data), rig, channels)
    if ending == ".json":
        _refuse(path, False, face)
        return _driven(read_json_sequence(path, fps, count_rows, wanted), rig, channels)
    if ending == ".npz":
        _refuse(path, False, face)
        return _driven(read_npz(path, rig, fps, rigid, scale, progress, count_rows, wanted), rig, channels)
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    if ending == ".npy":
        raise ValueError(
            f"{path}: a .npy file has no names of its channels and no frame rate: save it as .npz with coefficients, "
            "names and fps"
        )
    raise ValueError(
        f"{path}: expected a table of blendshapes (.csv, .tsv), .json, .npz, a take's folder or .zip, or a folder of "
        "OBJ files"
    )


def _read_meshes(
    path: Path,
    rig: FaceRig | None,
    fps: float | None,
    rigid: bool,
    scale: float,
    progress: Callable[[int, int], None] | None,
) -> FaceSequence:
    if rig is None:
        raise ValueError(f"{path}: a rig must be given to fit meshes")
    if fps is None:
        raise ValueError(f"{path}: fps must be given (--recorded-fps): OBJ files do not tell it")
    return read_mesh_sequence(path, rig, fps, rigid, scale, progress)


def _driven(sequence: FaceSequence, rig: FaceRig | None, channels: ChannelTable | None) -> FaceSequence:
    return sequence if rig is None or channels is None else channels.drive(sequence, rig)


def _refuse(path: Path, count_rows: bool, face: int | None) -> None:
    """An option without effect is an error."""
    if count_rows:
        raise ValueError(f"{path}: has no rows, so they cannot be counted (--count-rows)")
    if face is not None:
        raise ValueError(f"{path}: holds one face, so none can be chosen (--face)")
