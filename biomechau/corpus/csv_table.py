"""A CSV file as a table whose rows know their line."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote, reason, shorten

_MISSING = frozenset({"", "nan", "na"})  # how pandas, R and C++ write a value that is not there


class Row(NamedTuple):
    """One line: its number in the file, and its fields without spaces around them."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class CsvTable:
    """The header and the rows of a CSV file; blank lines and empty last columns are left out."""

    path: Path
    header: list[str]
    rows: list[Row]

    @classmethod
    def read(cls, path: str | Path) -> CsvTable:
        """Read a file whose fields are separated by commas.

        Raises:
            ValueError: not such a file, no header, no rows, a row with another number of fields than the header; the
                message names file and line.
            OSError: the file cannot be read.
        """
        rows = read_rows(path)
        if not rows:
            raise ValueError(f"{path}: the file is empty, expected a header line")
        header, frames = rows[0].fields, rows[1:]
        if len(header) == 1 and (separator := re.search("[;\t]", header[0])):
            raise ValueError(f"{path}:{rows[0].line}: separated by {separator[0]!r}, expected ','")
        if not frames:
            raise ValueError(f"{path}: no frames after the header line")
        while not header[-1]:
            header.pop()
        for row in frames:
            if len(row.fields) < len(header) or any(row.fields[len(header) :]):
                raise ValueError(f"{path}:{row.line}: expected {len(header)} values, found {len(row.fields)}")
            del row.fields[len(header) :]
        return cls(Path(path), header, frames)

    def find(self, name: str) -> int | None:
        """Position of a column, whatever its capitals; None where there is none.

        Raises:
            ValueError: the column is there twice.
        """
        found = [column for column, other in enumerate(self.header) if other.casefold() == name.casefold()]
        if len(found) > 1:
            raise ValueError(f"{self.path}:1: column {name!r} is there twice")
        return found[0] if found else None

    def place(self, index: int, column: int) -> str:
        """Where the field of a row is, for messages."""
        return f"{self.path}:{self.rows[index].line}: column {shorten(self.header[column])}"

    def texts(self, column: int) -> list[str]:
        """The fields of one column."""
        return [row.fields[column] for row in self.rows]

    def numbers(self, columns: Sequence[int], limit: float = math.inf, missing: bool = False) -> NDArray[np.float64]:
        """Values (T, columns) of some columns.

        Args:
            columns: their positions.
            limit: largest size of a value.
            missing: values may be missing (empty or NaN), and are NaN then.

        Raises:
            ValueError: what is not a finite number, or beyond the limit; the message names line and column.
        """
        values = np.empty((len(self.rows), len(columns)))
        for index, row in enumerate(self.rows):
            for position, column in enumerate(columns):
                found = row.fields[column]
                if missing and found.lower() in _MISSING:
                    values[index, position] = math.nan
                    continue
                value = to_number(found)
                if not (math.isfinite(value) and abs(value) <= limit):
                    expected = f"a number of at most {limit:g} in size" if math.isfinite(value) else "a finite number"
                    raise ValueError(f"{self.place(index, column)}: expected {expected}, found {quote(found)}")
                values[index, position] = value
        return values


def read_rows(path: str | Path) -> list[Row]:
    """Every line of a CSV file that is not blank.

    Raises:
        ValueError: not a CSV text file; the message names the file.
        OSError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            rows = [Row(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV text file: {reason(error)}") from error
    return [row for row in rows if any(row.fields)]


def read_header(path: str | Path) -> list[str]:
    """The column names of a CSV file; empty for an empty file.

    Raises:
        ValueError: not a CSV text file; the message names the file.
        OSError: the file cannot be read.
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            fields = next((fields for fields in csv.reader(file) if any(field.strip() for field in fields)), [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: not a CSV text file: {reason(error)}") from error
    return [field.strip() for field in fields]


def to_number(text: str) -> float:
    """The number that a text spells; NaN where it spells none."""
    try:
        # Python also reads 1_0 and the digits of other scripts.
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan
