"""Frame numbers and times of the rows of a CSV file."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import UnknownFrameRate, check_frame_rate
from biomechau.corpus.resampling import check_span
from biomechau.file_errors import naming

LARGEST_FRAME = 10**9  # 460 days at 25 frames a second
_LATEST = 1e15  # [s] or [ms]; float64 tells milliseconds apart up to here
_LONGEST_STEP = 1.0  # [s] between frames; more is no recording of motion, but milliseconds
_SHARED_FRAME = "is this a second face? Keep one face a frame"


class FrameColumns(NamedTuple):
    """When the rows of a file were recorded.

    Attributes:
        frame: (T,) int64, rising, or None where frames are not numbered.
        timestamp: (T,) float64 [s], rising, or None where nothing tells the times.
        fps: nominal frame rate [1/s], or None likewise.
    """

    frame: Tensor | None
    timestamp: Tensor | None
    fps: float | None


def read_frame_columns(
    table: CsvTable, fps: float | None = None, numbers: NDArray[np.float64] | None = None
) -> FrameColumns:
    """Read ``frame``, and ``timestamp`` [s] or ``timestamp_ms``; each may be absent.

    Args:
        table: the file.
        fps: frame rate [1/s], in place of the file's own times.
        numbers: (T,) of the frames, in place of the column ``frame``.

    Raises:
        ValueError: a number that is not whole, numbers or times that do not rise, times that are not in seconds or too
            far apart (:func:`biomechau.corpus.resampling.check_span`); the message names file and line.
    """
    if numbers is None and (column := table.find("frame")) is not None:
        numbers = table.numbers([column], LARGEST_FRAME)[:, 0]
    frame = None if numbers is None else _frame_numbers(table, numbers)
    if fps is not None:
        check_frame_rate(fps)
        count = torch.arange(len(table.rows)) if frame is None else frame - frame[0]
        timestamp = count.double() / fps
        check_span(timestamp, fps, lambda index: f"{table.path}:{table.rows[index].line}: column frame")
        return FrameColumns(frame, timestamp, fps)
    seconds, milliseconds = table.find("timestamp"), table.find("timestamp_ms")
    if seconds is None and milliseconds is None:
        return FrameColumns(frame, None, None)
    column, unit = (seconds, 1.0) if seconds is not None else (milliseconds, 1e-3)
    assert column is not None
    times = unit * table.numbers([column], _LATEST)[:, 0]
    _check_rising(table, times, table.header[column])
    if len(times) == 1:
        raise UnknownFrameRate(
            f"{table.path}: fps must be given (--recorded-fps): the time of one frame does not tell it"
        )
    steps = np.diff(times) / (1 if frame is None else np.diff(frame.numpy()))
    # The mean of the usual steps: times may be rounded to milliseconds, and frames may be dropped.
    step = float(steps[steps < 1.5 * np.median(steps)].mean())
    if step > _LONGEST_STEP:
        raise ValueError(
            f"{table.path}: column {table.header[column]}: the usual step is {step:g} s; "
            'are the times in milliseconds? (then the column must be named "timestamp_ms")'
        )
    with naming(f"{table.path}: column {table.header[column]}"):
        check_frame_rate(1 / step)
    timestamp = torch.from_numpy(times)
    check_span(timestamp, 1 / step, lambda index: table.place(index, column))
    return FrameColumns(frame, timestamp, 1 / step)


def need_times(table: CsvTable, columns: FrameColumns) -> tuple[Tensor, float]:
    """Times and frame rate.

    Raises:
        UnknownFrameRate: nothing tells them.
    """
    if columns.timestamp is None or columns.fps is None:
        raise UnknownFrameRate(
            f"{table.path}: fps must be given (--recorded-fps): the file does not tell the time of its frames"
        )
    return columns.timestamp, columns.fps


def _frame_numbers(table: CsvTable, numbers: NDArray[np.float64]) -> Tensor:
    for row, number in zip(table.rows, numbers, strict=True):
        if not 0 <= number <= LARGEST_FRAME or number != round(number):
            raise UnknownFrameRate(
                f"{table.path}:{row.line}: column frame: expected a whole number from 0 to {LARGEST_FRAME:,}, "
                f"found {number:g}"
            )
    _check_rising(table, numbers, "frame")
    return torch.from_numpy(numbers.astype(np.int64))


def _check_rising(table: CsvTable, values: NDArray[np.float64], name: str) -> None:
    for row, before, value in zip(table.rows[1:], values[:-1], values[1:], strict=True):
        if value == before and name == "frame":
            raise UnknownFrameRate(f"{table.path}:{row.line}: frame {value:g} is there twice; {_SHARED_FRAME}")
        if not value > before:
            raise UnknownFrameRate(
                f"{table.path}:{row.line}: column {name}: {value:g} does not rise from {before:g} in the row before"
            )
