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
from biomechau.file_errors import naming, quote, shorten

LARGEST_FRAME = 10**9  # 460 days at 25 frames a second
_LATEST = 1e19  # nanoseconds since 1970, and more
_EPOCH = 1e8  # [s], three years: later times count from 1970 or from an arbitrary origin
LONGEST_STEP = 0.5  # [s] from frame to frame; more cannot resolve the motion of a face
_LONGEST_RUN = 3  # rows with the same time: more cannot be explained by a rounded clock
# Seconds per unit, by the last word of a column's name.
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("ms", "msec", "msecs", "millis", "millisec", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("us", "usec", "usecs", "micros", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds"), 1e-9),
}
_TIME_WORDS = frozenset({"time", "timestamp", "timestamps", "times", "t", "ts", "pts", "epoch", "datetime", "elapsed"})
# Words of other times than those of frames; py-feat's approx_time is too coarse.
_OTHER_TIMES = frozenset({"approx", "processing", "inference", "latency", "duration", "exposure", "delta", "dt", "run"})
_TIMECODE_NAMES = frozenset({"timecode", "timecodes", "smpte", "tc", "smptetimecode"})
_FRAME_NAMES = re.compile(r"(video)?frames?(idx|index|number|numbers|num|no|nr|id|count)?")
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
# Units to try for times whose column names none: the first one that gives a plausible step between frames.
_GUESSES = ((1e-3, "milliseconds"), (1e-6, "microseconds"), (1e-9, "nanoseconds"))
_PLAUSIBLE_STEPS = (0.004, 0.25)  # [s]


@dataclass(frozen=True, eq=False)
class FrameColumns:
    """When the rows of a file were recorded.

    Attributes:
        rows: (T,) rows that are distinct frames, increasing.
        timestamp: (T,) float64 [s], increasing, or None if the times are unknown.
        fps: nominal frame rate [1/s], or None if it is unknown.
        frame: (T,) int64 frame numbers, increasing, or None if frames are not numbered.
        repeated: rows left out because they repeat the row before.
        used: positions of the columns that were read.
        notes: how they were read, in words.
        timecode: text of the first timecode, empty if there is none.
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

    A timecode is preferred to other times, and these to frame numbers alone. Times may be dates, clock times, or
    numbers in seconds, milliseconds and so on. The unit is read from the name of the column or guessed from the steps.

    Args:
        table: the file.
        content: columns of the recorded values; two rows with equal times and equal values are one frame.
        fps: frame rate [1/s], instead of the file's own times; for a timecode, its number of frames per second.
        numbers: (T,) frame numbers, instead of a column of them.
        count_rows: treat rows as frames at an even rate, ``fps``, and ignore all times and numbers.

    Raises:
        UnknownFrameRate: frame numbers are not whole or do not increase.
        ValueError: times do not increase, do not distinguish frames, have steps of half a second or more, or are too
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
        UnknownFrameRate: the file does not contain them.
    """
    if columns.timestamp is None or columns.fps is None:
        raise UnknownFrameRate(
            f"{table.path}: fps must be given (--recorded-fps): the file does not contain the times of its frames"
        )
    return columns.timestamp, columns.fps


def find_time_column(table: CsvTable) -> int | None:
    """The column of times, chosen by its name and, if the name is ambiguous, by its values.

    Raises:
        ValueError: it appears twice.
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
        raise ValueError(f"{table.path}:1: column {quote(table.header[best[1]])} appears twice")
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
    """The column of frame numbers.

    Raises:
        ValueError: it appears twice.
    """
    found = [
        column
        for column, name in enumerate(table.header)
        if _FRAME_NAMES.fullmatch(re.sub(r"[\W_]+", "", name).lower())
        if any(table.texts(column))
    ]
    plain = [column for column in found if table.header[column].casefold() == "frame"] or found
    if len(plain) > 1 and table.header[plain[0]].casefold() == table.header[plain[1]].casefold():
        raise ValueError(f"{table.path}:1: column {quote(table.header[plain[0]])} appears twice")
    return plain[0] if plain else None


def _timecode_frames(table: CsvTable, column: int, content: Sequence[int], rate: float | None) -> FrameColumns:
    texts = table.texts(column)
    name = shorten(table.header[column])
    codes = read_timecodes(texts, lambda index: table.place(index, column), rate)
    if rate is not None and len(texts) > 1 and not np.ptp(codes.seconds):
        rows = np.arange(len(texts))
        note = f"its timecode stands still; its rows were counted at {rate:g} per second"
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
        notes = (*notes, "its timecodes are assumed to count 60 frames per second; it is too short to tell")
    repeated = tuple(np.setdiff1d(np.arange(len(texts)), rows).tolist())
    return FrameColumns(rows, timestamp, codes.rate / step, None, repeated, (column,), (*codes.notes, *notes), texts[0])


def _timed_frames(
    table: CsvTable, column: int, content: Sequence[int], frame: Tensor | None, used: tuple[int, ...]
) -> FrameColumns:
    name = shorten(table.header[column])
    clock = is_clock_time(table.rows[0].fields[column])
    if clock:
        unit: float | None = 1.0
        times = read_clock_times(table.texts(column), lambda index: table.place(index, column))
    else:
        unit = _words_and_unit(name)[1]
        times = table.numbers([column], _LATEST)[:, 0]
    if len(times) == 1:
        raise UnknownFrameRate(
            f"{table.path}: fps must be given (--recorded-fps): it cannot be found from a single frame"
        )
    _check_order(table, times, column)
    rows, times, notes = _settle_repeats(table, column, times, content)
    if frame is not None:
        frame = frame[torch.from_numpy(rows)]
    counts = np.ones(len(times) - 1) if frame is None else np.diff(frame.numpy())
    steps = np.diff(times) / counts
    # The mean of the typical steps: times may be rounded to milliseconds or jitter, and frames may be dropped.
    step = float(steps[steps < 1.75 * np.median(steps)].mean()) * (1 if frame is None else _usual_count(frame))
    if unit is None:
        unit, words = _guess_unit(step)
        notes = (*notes, f"column {name} is assumed to be in {words}") if unit != 1 else notes
    times, step = times * unit, step * unit
    if clock or times[0] > _EPOCH:
        notes = (*notes, f"its times begin at {shorten(table.rows[0].fields[column])}, which is 0 s here")
        times = times - times[0]
    timestamp = torch.from_numpy(times)
    _check_step(table, f"column {name}", step, timestamp)
    with naming(f"{table.path}: column {name}"):
        check_frame_rate(1 / step)
    check_span(timestamp, 1 / step, lambda index: table.place(int(rows[index]), column))
    repeated = tuple(np.setdiff1d(np.arange(len(table.rows)), rows).tolist())
    return FrameColumns(rows, timestamp, 1 / step, frame, repeated, used, notes)


def _guess_unit(step: float) -> tuple[float, str]:
    """The unit of times whose column does not name it."""
    shortest, longest = _PLAUSIBLE_STEPS
    for unit, words in _GUESSES:
        if shortest <= step * unit <= longest and step > LONGEST_STEP:
            return unit, words
    return 1.0, "seconds"


def _settle_repeats(
    table: CsvTable, column: int, times: NDArray[np.float64], content: Sequence[int]
) -> tuple[NDArray[np.int64], NDArray[np.float64], tuple[str, ...]]:
    """The rows that are distinct frames, their increasing times, and notes.

    A row with the time and the values of the row before is a repeat. Up to three rows with the same time are spread
    evenly, since the clock was rounded. More are an error.
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
            f"same time as the row before, so it does not distinguish frames; {COUNT_ROWS}"
        )
    spread = len(rows) - len(firsts)
    if not spread:
        return rows, times[rows], ()
    known = times[rows][firsts]
    # After the last distinct time, the typical step continues.
    usual = np.median(np.diff(known) / np.diff(firsts))
    anchors, ends = np.append(firsts, len(rows)), np.append(known, known[-1] + usual * (len(rows) - firsts[-1]))
    note = f"{spread} rows have the same time as the row before; they were spread evenly between their neighbours"
    return rows, np.interp(np.arange(len(rows)), anchors, ends), (note,)


def _usual_ticks(ticks: NDArray[np.float64]) -> float:
    """Timecode frames from row to row: usually 1, or 2, 3, ... or 1/2, 1/3, ... if the two rates differ."""
    if len(ticks) < 2:
        return 1.0
    steps = np.diff(ticks)
    step = float(steps[steps < 1.5 * np.median(steps)].mean())
    whole = float(round(step)) if step > 0.75 else 1 / round(1 / step)
    return whole if abs(step / whole - 1) < 0.1 else step


def _usual_count(frame: Tensor) -> int:
    """The typical step of frame numbers: above 1 if a program skipped frames."""
    return max(int(frame.diff().median()), 1) if len(frame) > 1 else 1


def _check_step(table: CsvTable, what: str, step: float, timestamp: Tensor) -> None:
    if step >= LONGEST_STEP:
        raise ValueError(
            f"{table.path}: {what}: the typical step is {step:g} s, {len(timestamp)} rows in "
            f"{float(timestamp[-1] - timestamp[0]):g} s, too coarse for a face in motion; {COUNT_ROWS}"
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
                f"{table.line(index)}: frame {value:g} appears twice; is this a second face? Keep one face per frame"
            )
        if value < before:
            raise UnknownFrameRate(
                f"{table.line(index)}: column frame: {value:g} does not increase from {before:g} in the row before"
            )
    return torch.from_numpy(numbers.astype(np.int64))


def _check_order(table: CsvTable, times: NDArray[np.float64], column: int) -> None:
    falls = np.diff(times) < 0
    if falls.any():
        index = int(falls.argmax())
        raise UnknownFrameRate(
            f"{table.place(index + 1, column)}: {times[index + 1]:.10g} does not increase from {times[index]:.10g} in "
            "the row before"
        )
