"""Frame numbers and times of the rows of a CSV file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.clock_times import is_clock_time, read_clock_times
from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.face_sequence import UnknownFrameRate, check_frame_rate
from biomechau.corpus.resampling import check_span
from biomechau.corpus.timecode import COUNT_ROWS, is_timecode, read_timecodes
from biomechau.file_errors import naming, quote

LARGEST_FRAME = 10**9  # 460 days at 25 frames a second
_LATEST = 1e19  # nanoseconds since 1970, and more
_EPOCH = 1e8  # [s], three years: times since 1970, or of a clock that nobody set
LONGEST_STEP = 0.5  # [s] from frame to frame; more is no motion of a face, or no times of frames
_LONGEST_RUN = 3  # of rows with one time: a clock that is rounded, as far as it still tells the frames apart
# Seconds per unit, by the last word of a column's name.
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "usecs", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"), 1e-9),
}
_TIME_WORDS = frozenset({"time", "timestamp", "timestamps", "times", "t", "ts", "pts", "epoch", "datetime", "elapsed"})
# Of times that are not those of frames; py-feat's approx_time is too coarse.
_OTHER_TIMES = frozenset({"approx", "processing", "inference", "latency", "duration", "exposure", "delta", "dt", "run"})
_TIMECODE_NAMES = frozenset({"timecode", "timecodes", "smpte", "tc", "smptetimecode"})
_FRAME_NAMES = re.compile(r"(video)?frames?(idx|index|number|numbers|num|no|nr|id|count)?")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Units in which times without one may be: the steps between frames that are plausible in each.
_GUESSES = ((1e-3, "milliseconds"), (1e-6, "microseconds"), (1e-9, "nanoseconds"))
_PLAUSIBLE_STEPS = (0.004, 0.25)  # [s]


@dataclass(frozen=True, eq=False)
class FrameColumns:
    """When the rows of a file were recorded.

    Attributes:
        rows: (T,) the rows that are frames of their own, rising.
        timestamp: (T,) float64 [s], rising, or None where nothing tells the times.
        fps: nominal frame rate [1/s], or None likewise.
        frame: (T,) int64, rising, or None where frames are not numbered.
        repeated: rows left out because they repeat the row before.
        used: positions of the columns that told all this.
        notes: how it was read, in words.
        timecode: text of the first timecode, empty where there is none.
    """

    rows: NDArray[np.int64]
    timestamp: Tensor | None = None
    fps: float | None = None
    frame: Tensor | None = None
    repeated: tuple[int, ...] = ()
    used: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    timecode: str = ""


def read_frame_columns(
    table: CsvTable,
    content: Sequence[int] = (),
    fps: float | None = None,
    numbers: NDArray[np.float64] | None = None,
    count_rows: bool = False,
) -> FrameColumns:
    """Find when the rows of a file were recorded.

    A timecode is taken before other times, and these before frame numbers alone. Times may be seconds, milliseconds and
    so on, as the name of their column says or their steps tell, or dates and clock times.

    Args:
        table: the file.
        content: columns of what was recorded; two rows of one time that agree in them are one frame.
        fps: frame rate [1/s], in place of the file's own times; of a timecode the frames it counts a second.
        numbers: (T,) of the frames, in place of a column of frame numbers.
        count_rows: the rows are frames at an even rate, ``fps``, whatever else the file says.

    Raises:
        UnknownFrameRate: frame numbers that are not whole or do not rise.
        ValueError: times that do not rise, do not tell frames apart, or have steps of half a second or more, or are too
            far apart (:func:`biomechau.corpus.resampling.check_span`); the message names file and line.
    """
    if fps is not None:
        check_frame_rate(fps)
    everything = np.arange(len(table.rows))
    if count_rows:
        if fps is None:
            raise ValueError("count_rows (--count-rows) needs fps (--recorded-fps), the frame rate of the rows")
        return FrameColumns(everything, torch.from_numpy(everything / fps), fps)
    column = find_time_column(table)
    if column is not None and any(map(is_timecode, table.texts(column)[:3])):
        return _timecode_frames(table, column, content, fps)
    used = (column,) if column is not None else ()
    counter = find_frame_column(table) if numbers is None else None
    if counter is not None:
        numbers = table.numbers([counter], LARGEST_FRAME)[:, 0]
        used = (*used, counter)
    frame = None if numbers is None else _frame_numbers(table, numbers)
    if fps is not None:
        count = torch.from_numpy(everything) if frame is None else frame - frame[0]
        step = _usual_count(count)
        timestamp = count.double() / fps
        _check_step(table, "column frame", step / fps, timestamp)
        check_span(timestamp, fps / step, lambda index: f"{table.line(index)}: column frame")
        return FrameColumns(everything, timestamp, fps / step, frame, used=used)
    if column is None:
        return FrameColumns(everything, frame=frame, used=used)
    return _timed_frames(table, column, content, frame, used)


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


def find_time_column(table: CsvTable) -> int | None:
    """The column that tells the times: by its name and, for names that may mean other times, its values.

    Raises:
        ValueError: it is there twice.
    """
    ranked = []
    for column, name in enumerate(table.header):
        words, unit = _words_and_unit(name)
        if _OTHER_TIMES.intersection(words) or not any(table.texts(column)):
            continue
        if "".join(words) in _TIMECODE_NAMES:
            ranked.append((0, column))
        elif words[:1] in (["timestamp"], ["time"]) and len(words) == 1:
            ranked.append((1 if words == ["timestamp"] else 2, column))
        elif _TIME_WORDS.intersection(words) or (not words and unit):
            ranked.append((3, column))
        elif unit and unit < 1 and _rises(table, column):
            ranked.append((4, column))
    best = min(ranked, default=None)
    if best is None:
        return None
    twins = [column for rank, column in ranked if rank == best[0]]
    same = [column for column in twins if table.header[column].casefold() == table.header[best[1]].casefold()]
    if len(same) > 1:
        raise ValueError(f"{table.path}:1: column {table.header[best[1]]!r} is there twice")
    return best[1]


def _words_and_unit(name: str) -> tuple[list[str], float | None]:
    """The words of a column's name without its unit, and the unit in seconds."""
    words = [word.lower() for word in _WORDS.findall(name)]
    unit = _UNITS.get(words[-1]) if words else None
    if unit is not None:
        words = words[:-2] if words[-2:-1] == ["in"] else words[:-1]
    return words, unit


def _rises(table: CsvTable, column: int) -> bool:
    values = np.array([table.number(text) for text in table.texts(column)])
    return len(values) > 1 and bool((np.diff(values) > 0).all())


def find_frame_column(table: CsvTable) -> int | None:
    """The column that numbers the frames.

    Raises:
        ValueError: it is there twice.
    """
    found = [
        column
        for column, name in enumerate(table.header)
        if _FRAME_NAMES.fullmatch(re.sub(r"[\W_]+", "", name).lower())
        if any(table.texts(column))
    ]
    plain = [column for column in found if table.header[column].casefold() == "frame"] or found
    if len(plain) > 1 and table.header[plain[0]].casefold() == table.header[plain[1]].casefold():
        raise ValueError(f"{table.path}:1: column {table.header[plain[0]]!r} is there twice")
    return plain[0] if plain else None


def _timecode_frames(table: CsvTable, column: int, content: Sequence[int], rate: float | None) -> FrameColumns:
    texts = table.texts(column)
    name = table.header[column]
    codes = read_timecodes(texts, lambda index: table.place(index, column), rate)
    if rate is not None and len(texts) > 1 and not np.ptp(codes.seconds):
        rows = np.arange(len(texts))
        note = f"its timecode stands still; its rows were counted at {rate:g} a second"
        return FrameColumns(rows, torch.from_numpy(rows / rate), rate, used=(column,), notes=(note,), timecode=texts[0])
    rows, times, notes = _settle_repeats(table, column, codes.seconds, content)
    ticks = times * codes.rate
    step = _usual_ticks(ticks)
    timestamp = torch.from_numpy(times - times[0])
    _check_step(table, f"column {name}", step / codes.rate, timestamp)
    with naming(f"{table.path}: column {name}"):
        check_frame_rate(codes.rate / step)

    def place(index: int) -> str:
        return f"{table.place(int(rows[index]), column)}: {quote(texts[rows[index]])}"

    check_span(timestamp, codes.rate / step, place)
    if codes.guessed:
        notes = (*notes, "its timecodes are taken to count 60 frames a second, which its few frames do not tell")
    repeated = tuple(np.setdiff1d(np.arange(len(texts)), rows).tolist())
    return FrameColumns(rows, timestamp, codes.rate / step, None, repeated, (column,), (*codes.notes, *notes), texts[0])


def _timed_frames(
    table: CsvTable, column: int, content: Sequence[int], frame: Tensor | None, used: tuple[int, ...]
) -> FrameColumns:
    name = table.header[column]
    clock = is_clock_time(table.rows[0].fields[column])
    if clock:
        unit: float | None = 1.0
        times = read_clock_times(table.texts(column), lambda index: table.place(index, column))
    else:
        unit = _words_and_unit(name)[1]
        times = table.numbers([column], _LATEST)[:, 0]
    if len(times) == 1:
        raise UnknownFrameRate(
            f"{table.path}: fps must be given (--recorded-fps): the time of one frame does not tell it"
        )
    _check_order(table, times, column)
    rows, times, notes = _settle_repeats(table, column, times, content)
    if frame is not None:
        frame = frame[torch.from_numpy(rows)]
    counts = np.ones(len(times) - 1) if frame is None else np.diff(frame.numpy())
    steps = np.diff(times) / counts
    # The mean of the usual steps: times may be rounded to milliseconds or be late, and frames may be dropped.
    step = float(steps[steps < 1.75 * np.median(steps)].mean()) * (1 if frame is None else _usual_count(frame))
    if unit is None:
        unit, words = _guess_unit(step)
        notes = (*notes, f"column {name} is taken to be in {words}") if unit != 1 else notes
    times, step = times * unit, step * unit
    if clock or times[0] > _EPOCH:
        notes = (*notes, f"its times begin at {table.rows[0].fields[column]}, which is 0 s here")
        times = times - times[0]
    timestamp = torch.from_numpy(times)
    _check_step(table, f"column {name}", step, timestamp)
    with naming(f"{table.path}: column {name}"):
        check_frame_rate(1 / step)
    check_span(timestamp, 1 / step, lambda index: table.place(int(rows[index]), column))
    repeated = tuple(np.setdiff1d(np.arange(len(table.rows)), rows).tolist())
    return FrameColumns(rows, timestamp, 1 / step, frame, repeated, used, notes)


def _guess_unit(step: float) -> tuple[float, str]:
    """The unit of times whose column does not tell it."""
    shortest, longest = _PLAUSIBLE_STEPS
    for unit, words in _GUESSES:
        if shortest <= step * unit <= longest and step > LONGEST_STEP:
            return unit, words
    return 1.0, "seconds"


def _settle_repeats(
    table: CsvTable, column: int, times: NDArray[np.float64], content: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[str, ...]]:
    """The rows that are frames of their own, rising times of them, and notes.

    A row that has the time and the content of the one before is no frame. Up to three rows of one time are spread
    evenly: the clock was rounded. More have no times.
    """
    rows = np.arange(len(times))
    same = np.diff(times) == 0
    if not same.any():
        return rows, times, ()
    fields = [row.fields for row in table.rows]
    repeats = [
        index + 1
        for index in np.flatnonzero(same)
        if all(fields[index][position] == fields[index + 1][position] for position in content)
    ]
    rows = np.setdiff1d(rows, repeats)
    firsts = np.flatnonzero(np.diff(times[rows], prepend=-np.inf) > 0)
    longest = int(np.diff(firsts, append=len(rows)).max())
    if len(firsts) < 2 or longest > _LONGEST_RUN:
        raise ValueError(
            f"{table.place(int(np.flatnonzero(same)[0]) + 1, column)}: {int(same.sum())} of {len(times)} rows have the "
            f"time of the row before: it does not tell the frames apart; {COUNT_ROWS}"
        )
    spread = len(rows) - len(firsts)
    if not spread:
        return rows, times[rows], ()
    known = times[rows][firsts]
    # Beyond the last time the usual step goes on.
    usual = np.median(np.diff(known) / np.diff(firsts))
    anchors, ends = np.append(firsts, len(rows)), np.append(known, known[-1] + usual * (len(rows) - firsts[-1]))
    note = f"{spread} rows have the time of the row before, and were spread evenly between the times around them"
    return rows, np.interp(np.arange(len(rows)), anchors, ends), (note,)


def _usual_ticks(ticks: NDArray[np.float64]) -> float:
    """Timecode frames from one row to the next: mostly 1, or 2, 3... or 1/2, 1/3... when the two rates differ."""
    if len(ticks) < 2:
        return 1.0
    steps = np.diff(ticks)
    step = float(steps[steps < 1.5 * np.median(steps)].mean())
    whole = float(round(step)) if step > 0.75 else 1 / round(1 / step)
    return whole if abs(step / whole - 1) < 0.1 else step


def _usual_count(frame: Tensor) -> int:
    """The usual step of frame numbers: above 1 where a program skipped frames."""
    return max(int(frame.diff().median()), 1) if len(frame) > 1 else 1


def _check_step(table: CsvTable, what: str, step: float, timestamp: Tensor) -> None:
    if step >= LONGEST_STEP:
        raise ValueError(
            f"{table.path}: {what}: the usual step is {step:g} s, {len(timestamp)} rows in "
            f"{float(timestamp[-1] - timestamp[0]):g} s: no times of a face in motion; {COUNT_ROWS}"
        )


def _frame_numbers(table: CsvTable, numbers: NDArray[np.float64]) -> Tensor:
    for index, number in enumerate(numbers):
        if not 0 <= number <= LARGEST_FRAME or number != round(number):
            raise UnknownFrameRate(
                f"{table.line(index)}: column frame: expected a whole number from 0 to {LARGEST_FRAME:,}, "
                f"found {number:g}"
            )
    for index, (before, value) in enumerate(pairwise(numbers), 1):
        if value == before:
            raise UnknownFrameRate(
                f"{table.line(index)}: frame {value:g} is there twice; is this a second face? Keep one face a frame"
            )
        if value < before:
            raise UnknownFrameRate(
                f"{table.line(index)}: column frame: {value:g} does not rise from {before:g} in the row before"
            )
    return torch.from_numpy(numbers.astype(np.int64))


def _check_order(table: CsvTable, times: NDArray[np.float64], column: int) -> None:
    falls = np.diff(times) < 0
    if falls.any():
        index = int(falls.argmax())
        raise UnknownFrameRate(
            f"{table.place(index + 1, column)}: {times[index + 1]:.10g} does not rise from {times[index]:.10g} in the "
            "row before"
        )
