"""Reader of the Fex tables that py-feat writes: blendshapes of version 2, frames of both versions."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import FaceSequence
from biomechau.corpus.frame_columns import FrameColumns, read_frame_columns
from biomechau.corpus.mediapipe import MEDIAPIPE_SHAPES, blendshape_sequence

# Columns that only a Fex table has.
FEX_COLUMNS = frozenset({"facescore", "facerectx", "facerecty", "facerectwidth", "facerectheight", "approx_time"})
_FACE_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


def read_py_feat(path: str | Path, fps: float | None = None) -> FaceSequence:
    """Read the blendshapes of a Fex table of py-feat 2.

    A row of NaN, or one whose face box is NaN, is a frame without a face: not valid. Frames are numbered by the file
    names of the images in ``input`` where all of these are numbers (``F001/T1/2440.jpg`` is frame 2440), else by
    ``frame``. The column ``approx_time`` is too coarse to be used.

    Args:
        path: the CSV file.
        fps: frame rate [1/s]; needed, because a Fex table does not tell it.

    Raises:
        ValueError: no blendshapes, as in version 1, two faces in a frame, no frame rate, or as
            :func:`biomechau.corpus.read_mediapipe`; the message names file and line.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path)
    if all(table.find(name) is None for name in MEDIAPIPE_SHAPES):
        raise ValueError(
            f"{path}: a py-feat table without blendshapes, which version 2 writes; it holds action units only "
            "(read_action_units reads them)"
        )
    return blendshape_sequence(table, fex_frames(table, fps), "py-feat blendshapes", faceless_rows(table))


def fex_frames(table: CsvTable, fps: float | None) -> FrameColumns:
    """Frame numbers and times of a Fex table.

    Raises:
        ValueError: as :func:`biomechau.corpus.frame_columns.read_frame_columns`.
    """
    column = table.find("input")
    stems = [] if column is None else [_stem(text) for text in table.texts(column)]
    # A video has one name for all rows; it numbers nothing, even if the name is a number.
    images = stems and all(map(str.isdecimal, stems)) and (len(stems) == 1 or len(set(stems)) > 1)
    return read_frame_columns(table, fps, np.array([float(stem) for stem in stems]) if images else None)


def faceless_rows(table: CsvTable) -> NDArray[np.bool_]:
    """(T,) rows whose face box is missing: version 2 writes values of an empty picture there."""
    columns = [column for name in _FACE_BOX if (column := table.find(name)) is not None]
    return np.isnan(table.numbers(columns, missing=True).sum(1))


def _stem(text: str) -> str:
    path = PureWindowsPath(text) if "\\" in text else PurePosixPath(text)
    return path.stem
