"""Named signals over time: forces and action units of this package, and references to compare them with."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.action_unit_series import holds_action_units, read_action_units
from biomechau.corpus.csv_table import MISSING, CsvTable
from biomechau.corpus.frame_columns import FrameColumns, find_frame_column, need_times, read_frame_columns
from biomechau.corpus.label_table import unit_columns
from biomechau.csv_output import original_cell
from biomechau.file_errors import quote
from biomechau.json_file import read_json_object
from biomechau.rig.action_unit_names import column_name
from biomechau.rig.names import shortened

Floats = NDArray[np.float64]

INTENSITIES = "action_unit_intensities.csv"
RESULT_FILES = ("forces.csv", "action_units.csv")
_OWN_COLUMNS = ["frame", "timestamp", "recorded_frame"]
_UNIT = re.compile(r"AU\d{2}(_left|_right)?", re.ASCII)
_BARE_UNIT = re.compile(r"0*([1-9]\d?)", re.ASCII)
_NOT_CODED = (9, -1)
_STRONGEST = 5  # of coded intensities


@dataclass(frozen=True, eq=False)
class Signals:
    """C signals over T times.

    Attributes:
        names: of the signals.
        values: (T, C), NaN where there is no value.
        timestamp: (T,) increasing [s]; None if there are only frame numbers.
        frame: (T,) increasing numbers of the frames in the recording, or None.
        scale: unit of the values: "probability", "presence", "intensity", or "force" with the meaning of a force of
            1; None if it is not known.
        source: what was read, in words.
    """

    names: tuple[str, ...]
    values: Floats
    timestamp: Floats | None
    frame: NDArray[np.int64] | None
    scale: str | None
    source: str


def read_result(path: str | Path) -> tuple[Signals, ...]:
    """Read ``forces.csv``, ``action_units.csv`` or ``action_unit_intensities.csv`` of this package.

    From the folder of a result the first two are read, whose columns have different names.

    Cells without a value become NaN; standard deviations and the quality of frames are left out.

    Raises:
        ValueError: not one of these files, a folder without them, or a value that is not a number; the message names
            file and line.
        OSError: a file cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return (_read_own(CsvTable.read(path, recording=True)),)
    files = [path / name for name in RESULT_FILES if (path / name).is_file()]
    if not files:
        raise ValueError(f"{path}: expected a folder with {' or '.join(RESULT_FILES)}")
    return tuple(_read_own(CsvTable.read(file, recording=True)) for file in files)


def read_reference(
    path: str | Path, intensity: bool = False, fps: float | None = None, face: int | None = None
) -> tuple[Signals, ...]:
    """Read the signals to compare a result with.

    They may be results of this package; action units of the programs that :func:`read_action_units` supports; labels of
    coders, one column per action unit or side of one, with 0 and 1 or intensities 0 to 5, and 9 or -1 for not coded; or
    any other table with one column per signal, such as EMG. Times come from a column of times, from ``fps`` (the first
    row is at 0 s), or, as ``frame``, from frame numbers.

    Args:
        path: CSV file, or the folder of a result.
        intensity: read intensities of action units if a file also has presences.
        fps: frame rate [1/s], instead of the file's own times.
        face: number of the face to read, if the file has several.

    Raises:
        ValueError: the file has no times, no column of numbers, or a value that is not a number; the message names file
            and line.
        OSError: the file cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        return read_result(path)
    if path.suffix.lower() == ".json":
        raise ValueError(f"{path}: expected a CSV file, or the folder of a result")
    table = CsvTable.read(path, recording=True)
    if table.header[:3] == _OWN_COLUMNS and fps is None:
        return (_read_own(table),)
    coded = _read_coded(table, fps) if face is None else None
    if coded is not None:
        return (coded,)
    if holds_action_units(table):
        found = read_action_units(path, intensity or None, fps, face)
        names = tuple(map(column_name, found.action_units))
        values = found.values.double().numpy().copy()
        values[~found.valid.numpy()] = np.nan
        timestamp = None if found.timestamp is None else found.timestamp.numpy()
        return (Signals(names, values, timestamp, found.frame.numpy(), found.scale, found.source),)
    if intensity or face is not None:
        raise ValueError(f"{path}: --intensity and --face are for action units, but it has none")
    return (_read_table(table, fps),)


def _read_own(table: CsvTable) -> Signals:
    if table.header[:3] != _OWN_COLUMNS:
        raise ValueError(
            f"{table.path}:1: expected {' or '.join(RESULT_FILES)} of this package, whose columns begin with "
            f"{', '.join(_OWN_COLUMNS)}"
        )
    names = [original_cell(name) for name in table.header]
    kept = [
        column
        for column, name in enumerate(names)
        if column >= len(_OWN_COLUMNS) and name != "quality" and name.removesuffix("_sd") not in set(names) - {name}
    ]
    times = table.numbers([1])[:, 0]
    _check_rises(table, times)
    names = [names[column] for column in kept]
    of_units = "intensity" if table.path.name == INTENSITIES else "probability"
    scale = of_units if names and all(map(_UNIT.fullmatch, names)) else _force_scale(table.path)
    return Signals(tuple(names), table.numbers(kept, missing=True), times, _recorded(table), scale, table.path.name)


def _recorded(table: CsvTable) -> NDArray[np.int64]:
    """Number of the recorded frame of each row, -1 if there is none."""
    numbers = table.numbers([2], missing=True)[:, 0]
    return np.where(np.isnan(numbers), -1, numbers).astype(np.int64)


def _force_scale(path: Path) -> str:
    """``force``, with the meaning of a force of 1 if there is a summary in the same folder."""
    summary = path.parent / "summary.json"
    unit = read_json_object(summary).get("force_unit") if summary.is_file() else None
    return f"force, {unit}" if isinstance(unit, str) else "force"


def _check_rises(table: CsvTable, times: Floats) -> None:
    falls = np.flatnonzero(np.diff(times) <= 0)
    if len(falls):
        raise ValueError(f"{table.place(int(falls[0]) + 1, 1)}: the time does not increase")


def _read_coded(table: CsvTable, fps: float | None) -> Signals | None:
    """Labels of coders, which are columns of action units with whole numbers only; None if there are none."""
    columns = {column_name(unit, side): column for (unit, side), column in unit_columns(table).items()}
    numbered = table.find("0") is not None  # BP4D's header: 0 for the frame, then the action units
    for column, name in enumerate(table.header if numbered else ()):
        if (match := _BARE_UNIT.fullmatch(name)) is None:
            continue
        if (unit := column_name(int(match[1]))) in columns:
            raise ValueError(f"{table.path}:1: column {quote(name)} appears twice")
        columns[unit] = column
    if not columns:
        return None
    values = table.numbers(list(columns.values()), missing=True)
    values[np.isin(values, _NOT_CODED)] = np.nan
    known = values[~np.isnan(values)]
    if not len(known) or not np.isin(known, range(_STRONGEST + 1)).all():
        return None
    numbers = table.numbers([table.find("0") or 0])[:, 0] if numbered else None
    frames = read_frame_columns(table, list(columns.values()), fps, numbers)
    scale = "intensity" if known.max() > 1 else "presence"
    return _signals(table, tuple(columns), values, frames, scale, f"labels of {table.path.name}")


def _read_table(table: CsvTable, fps: float | None) -> Signals:
    """A table of any other program: all columns of numbers except for times."""
    first = [next((t for t in table.texts(c) if t.lower() not in MISSING), "") for c in range(len(table.header))]
    numbers = [column for column, text in enumerate(first) if not math.isnan(table.number(text))]
    frames = read_frame_columns(table, numbers, fps)
    times = {*frames.used, find_frame_column(table)}
    kept = [column for column in numbers if column not in times]
    if not kept:
        raise ValueError(f"{table.path}:1: expected a column of numbers for each signal, in addition to the times")
    names = tuple(table.header[column] for column in kept)
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise ValueError(f"{table.path}:1: column {quote(twice)} appears twice")
    return _signals(table, names, table.numbers(kept, missing=True), frames, None, table.path.name)


def _signals(
    table: CsvTable, names: Sequence[str], values: Floats, frames: FrameColumns, scale: str | None, source: str
) -> Signals:
    if frames.timestamp is None and frames.frame is None:
        need_times(table, frames)
    timestamp = None if frames.timestamp is None else frames.timestamp.numpy()
    frame = None if frames.frame is None else frames.frame.numpy()
    return Signals(tuple(names), values[frames.rows], timestamp, frame, scale, source)


def known_pieces(times: Floats, values: Floats, step: float) -> list[NDArray[np.int64]]:
    """Indices of the values of each stretch without a gap.

    Args:
        times: (T,) increasing [s].
        values: (T,), NaN where there is no value.
        step: typical time between values [s]; a gap is longer than 1.5 times this.
    """
    known = np.flatnonzero(~np.isnan(values))
    if not len(known):
        return []
    return np.split(known, np.flatnonzero(np.diff(times[known]) > 1.5 * step) + 1)


def read_pairs(path: str | Path) -> list[tuple[str, str]]:
    """Read a table of names to compare, with the columns ``result`` and ``reference``.

    Raises:
        ValueError: a column is missing, or a name is empty; the message names file and line.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path)
    columns = [table.find("result"), table.find("reference")]
    if columns[0] is None or columns[1] is None:
        raise ValueError(f"{path}:1: expected the columns result, reference, found {shortened(table.header)}")
    pairs = [(row.fields[columns[0]], row.fields[columns[1]]) for row in table.rows]
    empty = next((index for index, pair in enumerate(pairs) if not all(pair)), None)
    if empty is not None:
        raise ValueError(f"{table.line(empty)}: expected the names of a result and a reference, found {pairs[empty]}")
    return pairs
