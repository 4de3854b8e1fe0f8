"""Reader of tables of muscle forces: ``forces.csv`` as this package writes it, edited, or made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import UnknownFrameRate, check_frame_rate
from biomechau.corpus.frame_columns import LARGEST_FRAME
from biomechau.corpus.resampling import check_span, even_grid, interpolate
from biomechau.csv_output import original_cell
from biomechau.file_errors import naming, quote, shorten
from biomechau.rig.names import shortened

Floats = NDArray[np.float64]

_LARGEST_FORCE = 1e9
# Columns of forces.csv that are no forces, beside the standard deviations NAME_sd.
_OTHERS = frozenset({"frame", "timestamp", "recorded_frame", "quality"})
# Times have six digits: what two of them are off [s], and how near a whole number a rate is whole [1].
_ROUNDED, _WHOLE = 2e-6, 1e-4
_AXES = "xyz"


@dataclass(frozen=True, eq=False)
class ForceTable:
    """The muscle forces of a table, at its own times.

    Attributes:
        forces: (T, M) or (T, M, 3) float32 [unit of ``FaceDynamics``].
        timestamp: (T,) float64, rising [s].
        fps: frame rate [1/s]; None for a single row.
        notes: how the table was read, in words.
    """

    forces: Tensor
    timestamp: Tensor
    fps: float | None
    notes: tuple[str, ...] = ()

    def resample(self, fps: float) -> Tensor:
        """Forces (T', M) or (T', M, 3) at n / fps seconds after the first row, for n = 0, 1, ...

        Values between rows are interpolated, after a low-pass filter if ``fps`` is lower than the table's own rate.

        Raises:
            ValueError: ``fps`` is no frame rate, or too large for the length of the table.
        """
        check_frame_rate(fps)
        span = self.timestamp.clone()
        span[-1] += _ROUNDED  # so that rounding cannot lose the last frame
        grid = even_grid(span, fps)
        rows = self.forces.flatten(1).numpy()
        values = interpolate(self.timestamp.numpy(), rows, self.fps or fps, grid, fps)
        return torch.from_numpy(values).unflatten(1, self.forces.shape[1:])


def read_forces(
    path: str | Path,
    muscles: Sequence[str],
    fps: float | None = None,
    vector: bool = False,
    without_shapes: Mapping[str, Sequence[str]] | None = None,
) -> ForceTable:
    """Read a CSV file with one column per muscle and a column ``timestamp`` [s].

    Muscles without a column have no force. ``frame``, ``recorded_frame``, ``quality`` and ``NAME_sd`` are not read.
    A row without any force, such as a frame without a face, holds the forces of the row before it, because nothing
    tells that the face has moved; before the first row with forces the face is at rest.

    Args:
        path: the file.
        muscles: M identifiers.
        fps: frame rate [1/s], instead of the timestamps: column ``frame`` then counts the frames; without it the rows
            are frames.
        vector: read a vector per muscle from the columns ``NAME_x``, ``NAME_y`` and ``NAME_z``; otherwise one force
            >= 0 from ``NAME``.
        without_shapes: muscles that the rig has no shapes for, and the shapes that it lacks, for messages.

    Raises:
        UnknownFrameRate: neither timestamps nor ``fps``.
        ValueError: not a table of forces, an unknown muscle, a muscle without shapes that has a force, a force that is
            negative or not a number, a row with some forces only, times that do not increase; the message names file,
            line and column.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path, recording=True)
    columns, absent = _muscle_columns(table, muscles, vector, without_shapes or {})
    timestamp, rate = _times(table, fps)
    for name, column in absent.items():
        _check_silent(table, name, column, (without_shapes or {})[name])
    if not columns:
        raise ValueError(f"{path}:1: {_expected(muscles, vector)}; found {shortened(table.header)}")
    values = table.numbers(list(columns.values()), _LARGEST_FORCE, missing=True)
    if not vector:
        _check_positive(table, list(columns.values()), values)
    values, notes = _hold(table, list(columns.values()), values)
    shape = (len(muscles), 3) if vector else (len(muscles),)
    forces = np.zeros((len(values), int(np.prod(shape))), np.float32)
    forces[:, list(columns)] = values
    return ForceTable(
        torch.from_numpy(forces).unflatten(1, shape), torch.from_numpy(timestamp), rate, (*table.notes, *notes)
    )


def _muscle_columns(
    table: CsvTable, muscles: Sequence[str], vector: bool, without_shapes: Mapping[str, Sequence[str]]
) -> tuple[dict[int, int], dict[str, int]]:
    """The column of each force by its position among the forces, and those of muscles without shapes by name."""
    wanted = [f"{name}_{axis}" for name in muscles for axis in _AXES] if vector else list(muscles)
    position = {name: index for index, name in enumerate(wanted)}
    # Columns that belong to the muscles but hold no forces: deviations and, of vectors, magnitudes.
    silent = {f"{name}_sd" for name in (*muscles, *without_shapes)} | (set(muscles) if vector else set())
    columns: dict[int, int] = {}
    absent: dict[str, int] = {}
    for column, header in enumerate(table.header):
        name = original_cell(header)
        if name in position:
            if position[name] in columns:
                raise ValueError(f"{table.path}:1: column {name} appears twice")
            columns[position[name]] = column
        elif name in without_shapes:
            absent[name] = column
        elif name.casefold() not in _OTHERS and name not in silent and (name or any(table.texts(column))):
            raise ValueError(f"{table.path}:1: {_unknown(name, column, muscles, vector)}")
    for index, name in enumerate(muscles if vector else ()):
        lacking = [axis for a, axis in enumerate(_AXES) if 3 * index + a not in columns]
        if len(lacking) in (1, 2) or (lacking and name in table.header):
            raise ValueError(
                f"{table.path}:1: {name} has no column {name}_{lacking[0]}: vector forces have three columns per "
                "muscle, NAME_x, NAME_y and NAME_z; a table with one force per muscle needs --force fibre"
            )
    return columns, absent


def _unknown(name: str, column: int, muscles: Sequence[str], vector: bool) -> str:
    if not name:
        return f"column {column + 1} has values but no name"
    if not vector and name[-2:-1] == "_" and name[-1] in _AXES and name[:-2] in muscles:
        return f"column {name} is one axis of a vector force; vector forces need --force vector, as they were made with"
    close = get_close_matches(name, muscles, 1)
    hint = f"did you mean {close[0]}?" if close else _expected(muscles, vector)
    return f"column {quote(name)} is no muscle of the rig; {hint}"


def _expected(muscles: Sequence[str], vector: bool) -> str:
    what = "three columns per muscle, NAME_x, NAME_y, NAME_z" if vector else "one column per muscle"
    return f"expected a table of forces with {what}: {shortened(muscles)}"


def _times(table: CsvTable, fps: float | None) -> tuple[Floats, float | None]:
    """When the rows are [s], and the frame rate."""
    if fps is not None:
        check_frame_rate(fps)
        column = table.find("frame")
        times = (
            np.arange(len(table.rows)) / fps if column is None else table.numbers([column], LARGEST_FRAME)[:, 0] / fps
        )
    else:
        column = table.find("timestamp")
        if column is None:
            raise UnknownFrameRate(
                f"{table.path}:1: expected a column timestamp, in seconds; without it give the frame rate "
                "(--recorded-fps)"
            )
        times = table.numbers([column])[:, 0]
    steps = np.diff(times)
    if (steps <= 0).any():
        assert column is not None  # rows that are counted increase
        index = int((steps <= 0).argmax())
        before, found = (shorten(table.rows[row].fields[column]) for row in (index, index + 1))
        raise ValueError(f"{table.place(index + 1, column)}: {found} does not increase from {before} in the row before")
    if not len(steps):
        return times, fps
    rate = fps if fps is not None else 1 / float(steps[steps < 1.5 * np.median(steps)].mean())
    rate = float(round(rate)) if abs(rate - round(rate)) < _WHOLE * rate else rate
    with naming(f"{table.path}: its times"):
        check_frame_rate(rate)
    check_span(torch.from_numpy(times), rate, table.line)
    return times, rate


def _check_silent(table: CsvTable, name: str, column: int, shapes: Sequence[str]) -> None:
    """Raise ``ValueError`` if a muscle without shapes has a force."""
    forces = np.nan_to_num(table.numbers([column], _LARGEST_FORCE, missing=True)[:, 0])
    if forces.any():
        needs = f"it needs {', '.join(shapes)}" if shapes else "none is known for it"
        raise ValueError(
            f"{table.place(int(np.flatnonzero(forces)[0]), column)}: the rig has no shapes for this muscle: {needs}; "
            "take another rig, or leave the column out"
        )


def _check_positive(table: CsvTable, columns: Sequence[int], values: Floats) -> None:
    negative = np.argwhere(values < 0)
    if len(negative):
        row, column = negative[0].tolist()
        found = table.rows[row].fields[columns[column]]
        raise ValueError(
            f"{table.place(row, columns[column])}: expected a force of 0 or more, found {quote(found)}: a muscle pulls "
            "and cannot push"
        )


def _hold(table: CsvTable, columns: Sequence[int], values: Floats) -> tuple[Floats, tuple[str, ...]]:
    """Rows without any force filled with the last forces before them, or 0, and a note about them."""
    known = np.isfinite(values)
    complete = np.asarray(known.all(1))
    partial = known.any(1) & ~complete
    if partial.any():
        row = int(partial.argmax())
        column = columns[int((~known[row]).argmax())]
        raise ValueError(
            f"{table.place(row, column)}: no value, but other muscles of the row have one; expected a force, 0 for none"
        )
    if not complete.any():
        raise ValueError(f"{table.path}: no row has forces")
    if complete.all():
        return values, ()
    last = np.maximum.accumulate(np.where(complete, np.arange(len(values)), -1))
    filled = np.where(last[:, None] >= 0, values[last], 0.0)
    note = f"rows without forces: {int((~complete).sum())} of {len(values)}; they hold the forces of the row before"
    return filled, (note,)
