"""Lists of frames and sequences to exclude."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from biomechau.corpus.csv_table import to_number
from biomechau.corpus.frame_columns import LARGEST_FRAME
from biomechau.file_errors import quote, reason

_ENDING = re.compile(r"\.[A-Za-z]\w*$")
_SEPARATORS = re.compile(r"[\s,;/\\_]+")


@dataclass(frozen=True)
class Exclusions:
    """Frames whose labels are ignored, and sequences that are left out.

    Attributes:
        sequences: ids, case folded, with the first line that names them.
        frames: frame numbers by id, case folded, with the first line that names them.
    """

    sequences: dict[str, int] = field(default_factory=dict)
    frames: dict[str, dict[int, int]] = field(default_factory=dict)

    def unknown(self, ids: set[str]) -> list[tuple[int, str]]:
        """Lines that name none of these sequences, and the name."""
        known = {id.casefold() for id in ids}
        named = [(line, id) for id, line in self.sequences.items() if id not in known]
        named += [(min(lines.values()), id) for id, lines in self.frames.items() if id not in known]
        return sorted(named)


def read_exclusions(path: str | Path) -> Exclusions:
    """Read a list of frames and sequences to exclude.

    A line is a frame, such as ``F001_T1,2440`` or ``F001/T1/2440.jpg``, or a sequence, such as ``F001_T1``. Blank
    lines, lines that begin with ``#`` and a first line ``sequence,frame`` are ignored.

    Raises:
        ValueError: not a text file, or a frame number is too large; the message names file and line.
        OSError: the file cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file: {reason(error)}") from error
    exclusions = Exclusions()
    for number, line in enumerate(lines, 1):
        text = _ENDING.sub("", line.strip().strip(",;/\\"))
        if not text or text.startswith("#") or (number == 1 and text.casefold() == "sequence,frame"):
            continue
        *parts, last = _SEPARATORS.split(text)
        if parts and last.isdecimal():
            if not to_number(last) <= LARGEST_FRAME:
                raise ValueError(
                    f"{path}:{number}: expected a frame number up to {LARGEST_FRAME:,}, found {quote(last)}"
                )
            frames = exclusions.frames.setdefault("_".join(parts).casefold(), {})
            frames.setdefault(int(last), number)
        else:
            exclusions.sequences.setdefault("_".join((*parts, last)).casefold(), number)
    return exclusions
