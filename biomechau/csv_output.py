"""Tables as CSV files that other programs can trust."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

# What begins with one of these is a formula to a spreadsheet, and may start a program.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_MARK = "'"


def write_rows(path: Path, header: Sequence[object], rows: Iterable[Sequence[object]]) -> None:
    """Write a table: cells quoted where they must be, text that a spreadsheet would run marked, None empty.

    Raises:
        OSError: the file cannot be written.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(map(plain_cell, header))
        writer.writerows(map(plain_cell, row) for row in rows)


def plain_cell(value: object) -> object:
    """A cell that is no formula: text that begins as one gets ``'`` before it, as spreadsheets themselves write it."""
    return f"{_MARK}{value}" if isinstance(value, str) and _is_formula(value) else value


def original_cell(text: str) -> str:
    """The text that :func:`plain_cell` was given."""
    return text.removeprefix(_MARK) if text.startswith(_MARK) and _is_formula(text[1:]) else text


def _is_formula(text: str) -> bool:
    if not text.startswith(_FORMULA):
        return False
    try:
        float(text)  # a negative number, written as text
    except ValueError:
        return True
    return False
