"""Dates and clock times as seconds."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote

# 2024-05-01T10:00:00.033+02:00; either end may be absent. A clock time without a date may have more than 24 hours.
_CLOCK = re.compile(
    r"(?:(?P<date>\d{4}[-/.]\d{1,2}[-/.]\d{1,2})[T ]+)?(?:(?P<hours>\d{1,3}):)?(?P<minutes>[0-5]?\d)"
    r":(?P<seconds>[0-5]?\d(?:[.,]\d+)?) ?(?:Z|UTC|(?P<zone>[+-]\d\d:?\d\d))?",
    re.ASCII,
)
_DAY = 86400


def is_clock_time(text: str) -> bool:
    """Whether a text is an ISO 8601 date and time, or a clock time, ``MM:SS`` at least."""
    return _CLOCK.fullmatch(text) is not None


def read_clock_times(texts: Sequence[str], place: Callable[[int], str]) -> NDArray[np.float64]:
    """Seconds (T,) since the first midnight; clock times without a date may pass midnight.

    Raises:
        ValueError: a text is not a clock time; the message names the row.
    """
    seconds, days = np.empty(len(texts)), np.empty(len(texts))
    for index, text in enumerate(texts):
        match = _CLOCK.fullmatch(text)
        if match is None:
            raise ValueError(f"{place(index)}: expected a time such as 2024-05-01T10:00:00.033, found {quote(text)}")
        seconds[index] = 3600 * int(match["hours"] or 0) + 60 * int(match["minutes"])
        seconds[index] += float(match["seconds"].replace(",", "."))
        if match["zone"]:
            zone = match["zone"].replace(":", "")
            offset = 3600 * int(zone[1:3]) + 60 * int(zone[3:])
            seconds[index] -= offset if zone[0] == "+" else -offset
        try:
            days[index] = date(*map(int, re.split(r"[-/.]", match["date"]))).toordinal() if match["date"] else 0
        except ValueError as error:
            raise ValueError(f"{place(index)}: {quote(text)} is not a date: {error}") from error
    if not days.any():
        days = np.concatenate([[0], np.cumsum(np.diff(seconds) < -_DAY / 2)])
    return seconds + _DAY * (days - days[0])
