"""Tables as CSV files that are safe to open in other programs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

# Spreadsheets take text that starts with one of these for a formula, which may start a program.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARK = "'"


def write_rows(path: Path, header: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: cells quoted if necessary, text that looks like a formula marked, None as empty cells.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(plain_cell, header))
        writer.writerows(map(plain_cell, row) for row in rows)


def plain_cell(value: object) -> object:
    """A cell that is not a formula: text that looks like one is prefixed with ``'``, as spreadsheets do."""
    return f"{_MARK}{value}" if isinstance(value, str) and _is_formula(value) else value


def original_cell(text: str) -> str:
    """The inverse of :func:`plain_cell`."""
    return text.removeprefix(_MARK) if text.startswith(_MARK) and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    if not text.startswith(_FORMULA):
        return False
    try:
        float(text)  # a negative number, written as text
    except ValueError:
        return True
    return False
