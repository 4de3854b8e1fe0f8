"""Finding: something that is missing or unusual in a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Finding(NamedTuple):
    """Something that the user who creates a corpus should know.

    Attributes:
        where: id of the sequence, or another subject of the text.
        text: what was found, and what was expected.
        fault: whether the sequence cannot be used as it is; otherwise it is a note.
    """

    where: str
    text: str
    fault: bool = False

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def frame_ranges(frames: Sequence[int] | NDArray[np.int64], most: int = 4) -> str:
    """The first few ranges of increasing frame numbers.

    >>> frame_ranges([3, 4, 5, 9, 12, 13])
    '3-5, 9, 12-13'
    """
    numbers = np.asarray(frames)
    runs = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    words = [f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs[:most] if len(run)]
    return ", ".join(words) + (f" and {len(runs) - most} more ranges" if len(runs) > most else "")
