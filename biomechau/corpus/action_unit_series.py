"""Action units that another program found, to compare with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import check_timestamp
from biomechau.corpus.frame_columns import FrameColumns, read_frame_columns
from biomechau.corpus.py_feat import faceless_rows, fex_frames
from biomechau.file_errors import quote

Scale = Literal["probability", "presence", "intensity"]
_LARGEST: dict[Scale, float] = {"probability": 1.0, "presence": 1.0, "intensity": 5.0}
_PLAIN = re.compile(r"AU(\d{1,2})", re.ASCII)
_OPENFACE = re.compile(r"AU(\d{1,2})_([cr])", re.ASCII)


@dataclass(frozen=True, eq=False)
class ActionUnitSeries:
    """Action units of one face over time.

    Attributes:
        action_units: R numbers.
        values: (T, R) float32 on the scale named below; 0 in frames that are not valid.
        valid: (T,) bool, False where no face was found.
        scale: "probability" or "presence" in [0, 1], or "intensity" in [0, 5].
        frame: (T,) int64, frame numbers of the file, rising; counted from 0 where it has none.
        timestamp: (T,) float64, time of each frame [s], or None where nothing tells it.
        source: what was read, free text.

    Raises:
        TypeError: a tensor of another dtype.
        ValueError: shapes that do not fit, times or numbers that do not rise, or a value outside the scale.
    """

    action_units: tuple[int, ...]
    values: Tensor
    valid: Tensor
    scale: Scale
    frame: Tensor
    timestamp: Tensor | None = None
    source: str = ""

    def __post_init__(self) -> None:
        count = len(self.frame)
        for name, dtype, shape in (
            ("values", torch.float32, (count, len(self.action_units))),
            ("valid", torch.bool, (count,)),
            ("frame", torch.int64, (count,)),
            ("timestamp", torch.float64, (count,)),
        ):
            tensor = getattr(self, name)
            if name == "timestamp" and tensor is None:
                continue
            if tensor.dtype != dtype:
                raise TypeError(f"{name} must be {dtype}, got {tensor.dtype}")
            if tensor.shape != shape:
                raise ValueError(f"{name} must have shape {shape}, got {tuple(tensor.shape)}")
        if self.timestamp is not None:
            check_timestamp(self.timestamp)
        if not (self.frame.diff() > 0).all():
            raise ValueError(f"frame does not rise after row {int((self.frame.diff() <= 0).nonzero()[0])}")
        wrong = (~((self.values >= 0) & (self.values <= _LARGEST[self.scale]))).nonzero()
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f"AU{self.action_units[column]:02d} is {float(self.values[row, column]):g} in frame "
                f"{int(self.frame[row])}, expected a {self.scale} in [0, {_LARGEST[self.scale]:g}]"
            )

    def __len__(self) -> int:
        return len(self.frame)


def read_action_units(path: str | Path, intensity: bool = False, fps: float | None = None) -> ActionUnitSeries:
    """Read action units that OpenFace 2, py-feat (version 1 or 2) or ``biomechau predict`` found.

    OpenFace's file is known by columns like ``AU01_c`` (presence) and ``AU01_r`` (intensity), with or without spaces
    in its header, and a frame with ``success`` 0 is not valid. The others have columns like ``AU01`` (probability), and
    a row without values is a frame without a face: not valid.

    Args:
        path: the CSV file.
        intensity: read OpenFace's intensities in place of its presences.
        fps: frame rate [1/s], in place of the file's own times.

    Raises:
        ValueError: no action-unit columns of that kind, a column there twice, a value outside its scale, a row with
            some values only, two faces in a frame, times that do not rise; the message names file and line.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path)
    openface = _columns(table, _OPENFACE, "r" if intensity else "c")
    plain = _columns(table, _PLAIN)
    if openface:
        scale: Scale = "intensity" if intensity else "presence"
        success = table.find("success")
        lost = np.zeros(len(table.rows), np.bool_) if success is None else table.numbers([success], 1.0)[:, 0] <= 0
        return _series(table, openface, scale, read_frame_columns(table, fps), lost, "OpenFace action units")
    if intensity or not plain:
        kind = "AU01_r" if intensity else "AU01 (py-feat) or AU01_c (OpenFace)"
        raise ValueError(f"{path}:1: no action units: expected columns like {kind}")
    faceless = faceless_rows(table)
    return _series(table, plain, "probability", fex_frames(table, fps), faceless, "action-unit probabilities")


def _columns(table: CsvTable, pattern: re.Pattern[str], suffix: str = "") -> dict[int, int]:
    """Position of the column of each action unit whose name fits, in the order of the file."""
    columns: dict[int, int] = {}
    for position, name in enumerate(table.header):
        match = pattern.fullmatch(name)
        if match is None or match.groups()[1:] not in ((), (suffix,)):
            continue
        if int(match[1]) in columns:
            raise ValueError(f"{table.path}:1: column {quote(name)} is there twice")
        columns[int(match[1])] = position
    return columns


def _series(
    table: CsvTable,
    columns: dict[int, int],
    scale: Scale,
    frames: FrameColumns,
    faceless: NDArray[np.bool_],
    what: str,
) -> ActionUnitSeries:
    values = table.numbers(list(columns.values()), missing=True)
    values[faceless] = np.nan
    # NaN, for a missing value, is on no side of a bound.
    outside = np.argwhere((values < 0) | (values > _LARGEST[scale]))
    if len(outside):
        index, column = int(outside[0, 0]), list(columns.values())[outside[0, 1]]
        raise ValueError(
            f"{table.place(index, column)}: expected a {scale} in [0, {_LARGEST[scale]:g}], found "
            f"{quote(table.rows[index].fields[column])}: value outside its scale"
        )
    values = values.astype(np.float32)
    known = np.isfinite(values)
    for row, here in zip(table.rows, known, strict=True):
        if here.any() and not here.all():
            unit = list(columns)[int(np.flatnonzero(~here)[0])]
            raise ValueError(f"{table.path}:{row.line}: column {table.header[columns[unit]]} has no value, others do")
    valid = torch.from_numpy(known).all(1)
    try:
        return ActionUnitSeries(
            action_units=tuple(columns),
            values=torch.from_numpy(np.where(known, values, np.float32(0))),
            valid=valid,
            scale=scale,
            frame=torch.arange(len(valid)) if frames.frame is None else frames.frame,
            timestamp=frames.timestamp,
            source=f"{what} of {table.path.name}",
        )
    except ValueError as error:
        raise ValueError(f"{table.path}: {error}") from error
