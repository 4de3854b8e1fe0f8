"""Action units detected by other programs, for comparison."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.detections import choose_face, fex_numbers, read_detections
from biomechau.corpus.face_sequence import check_timestamp
from biomechau.corpus.frame_columns import FrameColumns, find_frame_column, find_time_column, read_frame_columns
from biomechau.file_errors import naming, quote

Scale = Literal["probability", "presence", "intensity"]
_LARGEST: dict[Scale, float] = {"probability": 1.0, "presence": 1.0, "intensity": 5.0}
_EVIDENCE = re.compile(r"AU\d{1,2} evidence", re.ASCII | re.IGNORECASE)
# Names of action units in AFFDEX of iMotions.
_AFFDEX = {
    **{"inner brow raise": 1, "brow raise": 2, "brow furrow": 4, "eye widen": 5, "cheek raise": 6, "lid tighten": 7},
    **{"nose wrinkle": 9, "upper lip raise": 10, "smile": 12, "dimpler": 14, "lip corner depressor": 15},
    **{"chin raise": 17, "lip pucker": 18, "lip stretch": 20, "lip press": 24, "mouth open": 25, "jaw drop": 26},
    **{"lip suck": 28, "eye closure": 43},
}


@dataclass(frozen=True, eq=False)
class _Kind:
    """Columns of action units as one program writes them.

    Attributes:
        program: its name.
        scale: kind of the values.
        pattern: of the column names, with the number as its group.
        example: of a column name.
        words: description of the values, for ``source``.
        unit: of the values, in units of the scale.
        named: action units of columns named by words, by the name in lower case.
    """

    program: str
    scale: Scale
    pattern: re.Pattern[str]
    example: str
    words: str
    unit: float = 1.0
    named: Mapping[str, int] = field(default_factory=dict)


def _kind(program: str, scale: Scale, pattern: str, example: str, words: str = "", flags: int = 0) -> _Kind:
    return _Kind(program, scale, re.compile(pattern, re.ASCII | flags), example, words or f"{program} action units")


_KINDS = (
    _kind("OpenFace", "presence", r"AU(\d{1,2})_c", "AU01_c"),
    _kind("OpenFace", "intensity", r"AU(\d{1,2})_r", "AU01_r"),
    _kind("LibreFace", "presence", r"au_(\d{1,2})", "au_1", flags=re.IGNORECASE),
    _kind("LibreFace", "intensity", r"au_(\d{1,2})_intensity", "au_1_intensity", flags=re.IGNORECASE),
    _kind("py-feat", "probability", r"AU(\d{1,2})", "AU01", "action-unit probabilities"),
    _Kind("iMotions", "probability", re.compile("(?!)"), "Brow Furrow", "iMotions action units", 0.01, _AFFDEX),
)


@dataclass(frozen=True, eq=False)
class ActionUnitSeries:
    """Action units of one face over time.

    Attributes:
        action_units: R numbers.
        values: (T, R) float32 on the scale below; 0 in frames that are not valid.
        valid: (T,) bool, False where no face was found.
        scale: "probability" or "presence" in [0, 1], or "intensity" in [0, 5].
        frame: (T,) int64, frame numbers of the file, increasing; counted from 0 if it has none.
        timestamp: (T,) float64, time of each frame [s], or None if it is unknown.
        source: what was read, free text.

    Raises:
        TypeError: a tensor has the wrong dtype.
        ValueError: shapes do not match, times or numbers do not increase, or a value lies outside the scale.
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
            raise ValueError(f"frame does not increase after row {int((self.frame.diff() <= 0).nonzero()[0])}")
        wrong = (~((self.values >= 0) & (self.values <= _LARGEST[self.scale]))).nonzero()
        if len(wrong):
            row, column = wrong[0].tolist()
            raise ValueError(
                f"AU{self.action_units[column]:02d} is {float(self.values[row, column]):g} in frame "
                f"{int(self.frame[row])}, expected a {self.scale} in [0, {_LARGEST[self.scale]:g}]"
            )

    def __len__(self) -> int:
        return len(self.frame)


def read_action_units(
    path: str | Path, intensity: bool | None = False, fps: float | None = None, face: int | None = None
) -> ActionUnitSeries:
    """Read action units written by OpenFace 2, LibreFace, py-feat (version 1 or 2), iMotions or ``biomechau predict``.

    The program is recognised by its columns: ``AU01_c`` (presence) and ``AU01_r`` (intensity) for OpenFace, ``au_1``
    (presence) and ``au_1_intensity`` for LibreFace, ``AU01`` (probability) for py-feat and this package, ``Brow
    Furrow`` (per cent) for iMotions. A frame with ``success`` 0, without a face box or without values is not valid.

    Args:
        path: the CSV file.
        intensity: read intensities instead of presences; None for presences or, if there are none, intensities.
        fps: frame rate [1/s], instead of the file's own times.
        face: number of the face to read, if the file has several (``face_id``).

    Raises:
        ValueError: no action units of that kind, a column that appears twice, a value outside its scale, a row with
            missing values, several faces and none chosen, times that do not increase; the message names file and line.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path, recording=True)
    found = {kind: columns for kind in _KINDS if (columns := _columns(table, kind))}
    chosen = next((kind for kind in found if (kind.scale == "intensity") == bool(intensity)), None)
    if intensity is None and chosen is None:
        chosen = next(iter(found), None)
    if chosen is None:
        raise ValueError(f"{path}:1: {_nothing_found(table, bool(intensity), list(found))}")
    keys = [column for column in (find_frame_column(table), find_time_column(table)) if column is not None]
    table, _, _ = choose_face(table, face, keys[:1])
    frames = read_frame_columns(table, list(found[chosen].values()), fps, fex_numbers(table))
    table = table.select(frames.rows.tolist())
    lost = read_detections(table).lost
    values = {kind: _scaled(table, columns, kind, lost) for kind, columns in found.items()}
    return _series(table, found[chosen], values[chosen], chosen, frames)


def holds_action_units(table: CsvTable) -> bool:
    """Whether :func:`read_action_units` finds columns of action units in a table."""
    return any(_columns(table, kind) for kind in _KINDS)


def _columns(table: CsvTable, kind: _Kind) -> dict[int, int]:
    """Position of the column of each action unit of this kind, in the order of the file."""
    columns: dict[int, int] = {}
    for position, name in enumerate(table.header):
        match = kind.pattern.fullmatch(name)
        unit = kind.named.get(name.lower()) if match is None else int(match[1])
        if unit is None:
            continue
        if unit in columns:
            raise ValueError(f"{table.path}:1: column {quote(name)} appears twice")
        columns[unit] = position
    return columns


def _nothing_found(table: CsvTable, intensity: bool, found: list[_Kind]) -> str:
    if found:
        other = " and ".join(f"{kind.program} {kind.scale}" for kind in found)
        way = "give intensity=True" if not intensity else "give intensity=False"
        return f"it has {other} values only: {way} to read them"
    if any(_EVIDENCE.search(name) for name in table.header):
        return "FACET's evidence of action units, which has no scale: export those of AFFDEX from iMotions"
    kinds = [kind for kind in _KINDS if (kind.scale == "intensity") == intensity]
    return f"no action units: expected columns like {' or '.join(f'{k.example} ({k.program})' for k in kinds)}"


def _scaled(table: CsvTable, columns: dict[int, int], kind: _Kind, lost: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Values (T, R) on their scale, NaN if missing; all are checked, even if they are not wanted."""
    values = table.numbers(list(columns.values()), missing=True) * kind.unit
    values[lost] = np.nan
    # Comparisons with NaN, a missing value, are False.
    outside = np.argwhere((values < 0) | (values > _LARGEST[kind.scale]))
    if len(outside):
        index, column = int(outside[0, 0]), list(columns.values())[outside[0, 1]]
        largest, found = _LARGEST[kind.scale] / kind.unit, quote(table.rows[index].fields[column])
        raise ValueError(
            f"{table.place(index, column)}: expected a {kind.scale} in [0, {largest:g}], found {found}: value outside "
            "the scale"
        )
    return values.astype(np.float32)


def _series(
    table: CsvTable, columns: dict[int, int], values: NDArray[np.float32], kind: _Kind, frames: FrameColumns
) -> ActionUnitSeries:
    known = np.isfinite(values)
    for index, here in enumerate(known):
        if here.any() and not here.all():
            unit = list(columns)[int(np.flatnonzero(~here)[0])]
            raise ValueError(f"{table.line(index)}: column {table.header[columns[unit]]} has no value, but others do")
    valid = torch.from_numpy(known).all(1)
    with naming(table.path):
        return ActionUnitSeries(
            action_units=tuple(columns),
            values=torch.from_numpy(np.where(known, values, np.float32(0))),
            valid=valid,
            scale=kind.scale,
            frame=torch.arange(len(valid)) if frames.frame is None else frames.frame,
            timestamp=frames.timestamp,
            source=f"{kind.words} of {table.path.name}",
        )
