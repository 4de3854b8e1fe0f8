"""Reader of blendshape coefficients in MediaPipe's names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import LARGEST_COEFFICIENT, FaceSequence, find_dropped
from biomechau.corpus.frame_columns import FrameColumns, need_times, read_frame_columns
from biomechau.rig.names import ARKIT_SHAPES, shortened

# MediaPipe's 52 outputs, in its order: no tongue, and a first one that is no shape.
NEUTRAL = "_neutral"
MEDIAPIPE_SHAPES = tuple(sorted(name for name in ARKIT_SHAPES if name != "tongueOut"))
# A channel that never leaves a band this wide in a whole recording does not follow the face.
_DEAD = 0.01


def read_mediapipe(path: str | Path, fps: float | None = None) -> FaceSequence:
    """Read a CSV file with MediaPipe's blendshapes, as ``biomechau track`` and many scripts write it.

    Columns are found by name: the 51 shapes in camel case (``_neutral`` is no shape, and left out), ``frame``, and
    ``timestamp`` [s] or ``timestamp_ms``; others do not count. A row without values is a frame without a face: not
    valid. Left and right are the subject's. Channels that never move are named in ``notes``.

    Args:
        path: the CSV file.
        fps: frame rate [1/s], in place of the file's own times; needed where it has none.

    Raises:
        ValueError: a column that is missing or there twice, a value that is not a number or beyond 10, a row with some
            values only, no row with a face, a frame that is there twice, times that do not rise, no frame rate; the
            message names file, line and column.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path)
    return blendshape_sequence(table, read_frame_columns(table, fps), "MediaPipe blendshapes")


def blendshape_sequence(
    table: CsvTable, columns: FrameColumns, what: str, faceless: NDArray[np.bool_] | None = None
) -> FaceSequence:
    """The MediaPipe columns of a file as a sequence.

    Args:
        table: the file.
        columns: its frame numbers and times.
        what: the kind of file, in words.
        faceless: (T,) rows that are known to show no face, whatever their values.

    Raises:
        ValueError: as :func:`read_mediapipe`.
    """
    positions = {name: table.find(name) for name in MEDIAPIPE_SHAPES}
    missing = [name for name, column in positions.items() if column is None]
    if missing:
        raise ValueError(
            f"{table.path}:1: missing column{'s' * (len(missing) > 1)} {shortened(missing)}, "
            "expected MediaPipe's blendshapes"
        )
    timestamp, fps = need_times(table, columns)
    values = table.numbers([column for column in positions.values() if column is not None], LARGEST_COEFFICIENT, True)
    values = values.astype(np.float32)
    if faceless is not None:
        values[faceless] = np.nan
    known = np.isfinite(values)
    valid = known.all(1)
    for row, here in zip(table.rows, known, strict=True):
        if here.any() and not here.all():
            name = MEDIAPIPE_SHAPES[int(np.flatnonzero(~here)[0])]
            raise ValueError(f"{table.path}:{row.line}: column {name} has no value, though others of the row do")
    if not valid.any():
        raise ValueError(f"{table.path}: no row has a face")
    spread = np.ptp(values[valid], 0)
    dead = [name for name, reach in zip(MEDIAPIPE_SHAPES, spread, strict=True) if reach < _DEAD]
    note = f"channels that never move by {_DEAD}: {len(dead)} ({shortened(dead, 8)})"
    return FaceSequence(
        name=table.path.stem,
        coefficients=torch.from_numpy(values),
        channels=MEDIAPIPE_SHAPES,
        timestamp=timestamp,
        valid=torch.from_numpy(valid),
        fps=fps,
        dropped=find_dropped(timestamp, fps),
        source=f"{what} of {table.path.name}",
        frame=columns.frame,
        notes=(note,) if dead else (),
    )
