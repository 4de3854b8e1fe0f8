"""Timecodes of recordings: their frame rate, and the time of each row."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote

# Drop-frame timecodes have a semicolon before the frame number.
_TIMECODE = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)[:;](\d{1,3})(?:[.,](\d+))?", re.ASCII)
# Rates of cameras and phones, each with the number of frames at the end of a second that may be lost.
_USUAL_RATES = ((60, 5.0), (30, 2.0))
# Rates to compare with milliseconds, in the order in which they are tried.
_RATES = (30, 60, 24, 25, 50, 48, 90, 100, 120, 240)
_FEWEST_NUMBERS = 3  # by which frame numbers must differ to be compared with milliseconds
_SHORTEST_MINUTE = 10  # seconds to a minute in a counter that is not a clock
_DAY = 86400
COUNT_ROWS = "if its rows are frames at an even rate F, give --count-rows --recorded-fps F"
Fraction = Literal["frame", "second", "row"]
_FRACTIONS: dict[Fraction, str] = {
    "frame": "",
    "second": "the digits after the frame number of its timecodes are assumed to be milliseconds of the second",
    "row": "the digits after the frame number of its timecodes count the rows and are ignored",
}


class Timecodes(NamedTuple):
    """Timecodes as times.

    Attributes:
        seconds: (T,) never decreasing [s].
        rate: timecode frames per second.
        guessed: whether the rate is a guess, because the recording does not contain the end of a second.
        notes: how the timecodes were read, in words.
    """

    seconds: NDArray[np.float64]
    rate: float
    guessed: bool
    notes: tuple[str, ...]


def is_timecode(text: str) -> bool:
    """Whether a text is ``HH:MM:SS:FF.mmm``, or ``HH:MM:SS;FF.mmm``; the fraction may be absent."""
    return _TIMECODE.fullmatch(text) is not None


def read_timecodes(texts: Sequence[str], place: Callable[[int], str], rate: float | None = None) -> Timecodes:
    """The times of timecodes ``HH:MM:SS:FF.mmm``.

    Hours may exceed 24, and the clock may pass midnight. The meaning of ``.mmm`` differs between programs: a fraction
    of the frame, the milliseconds of the second, or a row number. The meaning that fits every row is used. The frame
    rate is the median of the frame numbers at which seconds end.

    Args:
        texts: (T,).
        place: returns the location of a row, for messages.
        rate: timecode frames per second, if known.

    Raises:
        ValueError: a timecode is malformed, the frame rate cannot be found, time goes backwards, or seconds start again
            before 60; the message names the row.
    """
    seconds = np.empty(len(texts))
    frames = np.empty(len(texts))
    fractions = []
    for index, text in enumerate(texts):
        match = _TIMECODE.fullmatch(text)
        if match is None:
            raise ValueError(f"{place(index)}: expected HH:MM:SS:FF.mmm, found {quote(text)}")
        hours, minutes, second, frame, fraction = match.groups()
        seconds[index], frames[index] = 3600 * int(hours) + 60 * int(minutes) + int(second), int(frame)
        fractions.append(fraction or "")
    kind, known = _fraction_kind(frames, fractions, rate)
    if kind == "frame":
        frames += [float(f"0.{fraction}") if fraction else 0.0 for fraction in fractions]
    found, guessed, note = (known, False, "") if known else _infer_rate(frames, seconds, place)
    if (frames >= math.ceil(found)).any():
        index = int((frames >= math.ceil(found)).argmax())
        raise ValueError(f"{place(index)}: frame {frames[index]:g} is not below {found:g} fps")
    if kind == "second":
        times = seconds + np.array([int(fraction) for fraction in fractions]) / 1000
    else:
        times = seconds + frames / found
    times = _rising(times, place)
    _check_minutes(texts, times, seconds, frames, place)
    return Timecodes(times, found, guessed, tuple(filter(None, (_FRACTIONS[kind], note))))


def _fraction_kind(
    frames: NDArray[np.float64], fractions: Sequence[str], rate: float | None
) -> tuple[Fraction, float | None]:
    """What the digits after the frame number count, and the timecode frames per second if they reveal it."""
    if len(frames) < 3 or any(len(fraction) != 3 for fraction in fractions):
        return "frame", rate
    digits = np.array([int(fraction) for fraction in fractions])
    if (np.diff(digits) % 1000 == 1).all():
        return "row", rate
    highest = int(frames.max()) + 1
    if np.ptp(frames) >= _FEWEST_NUMBERS:
        for guess in (rate,) if rate else (*_RATES, highest):
            # Both give the position of a frame in its second, and either may be rounded or truncated.
            ahead = digits * guess / 1000 - frames
            if guess >= highest and ahead.min() > -0.6 and ahead.max() < 1.1:
                return "second", guess
    return "frame", rate


def _infer_rate(
    frames: NDArray[np.float64], seconds: NDArray[np.float64], place: Callable[[int], str]
) -> tuple[float, bool, str]:
    """Timecode frames per second, whether that is a guess, and a note if it is neither 30 nor 60."""
    steps, ends = np.diff(frames), np.diff(seconds) == 1
    within = steps[(np.diff(seconds) == 0) & (steps > 0)]
    usual = np.median(within) if len(within) else math.nan
    # The rate at which each second would continue into the next; frames dropped in between make it too low.
    rates = usual - steps[ends]
    highest = frames.max()
    middle = float(np.median(rates)) if len(rates) else math.nan
    for rate, lost in _USUAL_RATES:
        if highest < rate and rate - lost < middle < rate + usual / 2:
            return rate, False, ""
    agreeing = int((abs(rates - middle) < usual / 2).sum())
    rate = round(middle) if math.isfinite(middle) else 0
    if highest < rate and agreeing >= 2 and 2 * agreeing > len(rates):
        return rate, False, f"its timecodes count {rate} frames per second"
    if len(rates) and highest < rate:
        words = f"frame numbers start again after {highest:g}, as at {rate:g} frames per second"
        raise ValueError(f"{place(int(ends.argmax()) + 1)}: {words}: give their rate (--recorded-fps)")
    if highest >= 60:
        words = f"frame {highest:g} is not below 60 fps"
        raise ValueError(f"{place(int(frames.argmax()))}: {words}: give the rate of the frame numbers (--recorded-fps)")
    return 60.0, highest < 30, ""


def _rising(times: NDArray[np.float64], place: Callable[[int], str]) -> NDArray[np.float64]:
    """Add a day after each midnight, where the clock goes back by most of a day."""
    steps = np.diff(times)
    back = steps < -_DAY / 2
    times = times + np.concatenate([[0], np.cumsum(_DAY * back)])
    falls = np.diff(times) < -1e-9
    if falls.any():
        raise ValueError(f"{place(int(falls.argmax()) + 1)}: time goes backwards from the line before; {COUNT_ROWS}")
    return np.maximum.accumulate(times)


def _check_minutes(
    texts: Sequence[str],
    times: NDArray[np.float64],
    seconds: NDArray[np.float64],
    frames: NDArray[np.float64],
    place: Callable[[int], str],
) -> None:
    """Refuse seconds that start again before 60: they are a counter, not a clock."""
    # A pause that begins with the last frame of a second and ends with the first frame of the next minute.
    jumps = (np.diff(times) > 1.5) & (frames[1:] < 1) & (frames[:-1] > frames.max() - 1)
    jumps &= (seconds[1:] % 60 == 0) & (np.diff(seconds // 60) == 1)
    for index in np.flatnonzero(jumps).tolist():
        last = seconds[index] % 60
        if last + 1 >= _SHORTEST_MINUTE and last == (seconds % 60).max():
            raise ValueError(
                f"{place(index + 1)}: {quote(texts[index + 1])} follows {quote(texts[index])}: its seconds start again "
                f"after {last:g}, unlike those of a clock; {COUNT_ROWS}"
            )
