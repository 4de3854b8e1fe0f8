"""CSV files of any dialect, as tables whose rows know their line."""

from __future__ import annotations

import codecs
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.file_errors import quote, reason, regular_file, shorten

MISSING = frozenset({"", "nan", "na", "-nan", "nan(ind)", "-nan(ind)", "null", "none"})  # pandas, R, C++, JavaScript
_SEPARATORS = ",;\t"
# Byte order marks.
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Row(NamedTuple):
    """One line: its number in the file, and its fields without surrounding spaces."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class CsvTable:
    """The header and the rows of a CSV file, without blank lines, empty last columns and ``#`` lines at the top.

    Attributes:
        path: of the file.
        header: names of the columns.
        rows: in the order of the file.
        decimal: the decimal separator, ``"."`` or ``","``.
        notes: what was unusual, in words.
        lines: whether rows are lines of the file; otherwise they are its frames, counted from 1.
    """

    path: Path
    header: list[str]
    rows: list[Row]
    decimal: str = "."
    notes: tuple[str, ...] = ()
    lines: bool = True

    @classmethod
    def read(cls, path: str | Path, data: bytes | None = None, recording: bool = False) -> CsvTable:
        """Read a text file whose fields are separated by commas, semicolons, tabs or white space.

        The encoding is UTF-8, UTF-16 or Windows-1252. Numbers may have a decimal comma if commas do not separate
        fields.

        Args:
            path: the file.
            data: its content, if it is part of another file; ``path`` is then used in messages only.
            recording: leave out an incomplete last line, with a note, and keep empty rows between others. Otherwise an
                incomplete line is an error, and empty rows are left out.

        Raises:
            ValueError: not a CSV file, no header, no rows, or a row with more or fewer fields than the header; the
                message names file and line.
            OSError: the file cannot be read.
        """
        text = _decode(path, data)
        rows = _below_comments(_parse(path, text))
        if not rows:
            raise ValueError(f"{path}: the file is empty, expected a header line")
        header, frames = rows[0].fields, rows[1:]
        while not header[-1]:
            header.pop()
        notes = []
        if not recording:
            frames = [row for row in frames if any(row.fields)]
        while frames and not any(frames[-1].fields):
            frames.pop()
        if recording and frames and _is_cut(header, frames, text):
            notes.append(f"line {frames[-1].line}, the last one, is cut short and left out")
            frames.pop()
        if not frames:
            raise ValueError(f"{path}: no frames after the header line")
        for row in frames:
            if len(row.fields) < len(header) or any(row.fields[len(header) :]):
                raise ValueError(f"{path}:{row.line}: expected {len(header)} values, found {len(row.fields)}")
            del row.fields[len(header) :]
        return cls(Path(path), header, frames, "," if _has_decimal_commas(frames) else ".", tuple(notes))

    def find(self, name: str) -> int | None:
        """Position of a column, ignoring case; None if there is none.

        Raises:
            ValueError: the column appears twice.
        """
        found = [column for column, other in enumerate(self.header) if other.casefold() == name.casefold()]
        if len(found) > 1:
            raise ValueError(f"{self.path}:1: column {name!r} appears twice")
        return found[0] if found else None

    def select(self, rows: Sequence[int]) -> CsvTable:
        """The table with some of its rows only."""
        return replace(self, rows=[self.rows[index] for index in rows])

    def line(self, index: int) -> str:
        """The location of a row, for messages."""
        return f"{self.path}{':' if self.lines else ': frame '}{self.rows[index].line}"

    def place(self, index: int, column: int) -> str:
        """The location of a field, for messages."""
        return f"{self.line(index)}: column {shorten(self.header[column])}"

    def texts(self, column: int) -> list[str]:
        """The fields of one column."""
        return [row.fields[column] for row in self.rows]

    def number(self, text: str) -> float:
        """Parse a field as a number; NaN if it is not one."""
        return to_number(text.replace(",", ".") if self.decimal == "," else text)

    def numbers(
        self, columns: Sequence[int], limit: float = math.inf, missing: bool = False, scale: str = ""
    ) -> NDArray[np.float64]:
        """Values of some columns, (T, number of columns).

        Args:
            columns: their positions.
            limit: largest absolute value.
            missing: whether values may be missing (empty or NaN); they are returned as NaN.
            scale: what values are, for the message where one exceeds the limit.

        Raises:
            ValueError: a field is not a finite number, or exceeds the limit; the message names line and column.
        """
        values = np.empty((len(self.rows), len(columns)))
        for index, row in enumerate(self.rows):
            for position, column in enumerate(columns):
                found = row.fields[column]
                if missing and found.lower() in MISSING:
                    values[index, position] = math.nan
                    continue
                value = self.number(found)
                if not (math.isfinite(value) and abs(value) <= limit):
                    large = math.isfinite(value)
                    expected = f"a number of at most {limit:g} in size" if large else "a finite number"
                    advice = f"; {scale}" if large and scale else ""
                    raise ValueError(f"{self.place(index, column)}: expected {expected}, found {quote(found)}{advice}")
                values[index, position] = value
        return values


def read_rows(path: str | Path) -> list[Row]:
    """All lines of a CSV file that are not blank.

    Raises:
        ValueError: not a CSV text file; the message names the file.
        OSError: the file cannot be read.
    """
    return [row for row in _parse(path, _decode(path, None)) if any(row.fields)]


def to_number(text: str) -> float:
    """Parse a text as a number; NaN if it is not one."""
    try:
        # Python also accepts 1_0 and the digits of other scripts.
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _decode(path: str | Path, data: bytes | None) -> str:
    if data is None:
        regular_file(path)
        data = Path(path).read_bytes()
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and data[1:2] == b"\0" and data[:1].isalnum():
        encoding = "utf-16-le"  # without a byte order mark
    if encoding.startswith("utf-16"):
        data = data[: len(data) // 2 * 2]  # half a character at the end belongs to an incomplete last line
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        try:
            text = data.decode("cp1252")  # spreadsheets on Windows
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise ValueError(f"{path}: not a CSV text file: {reason(error)}") from error
    return text


def _parse(path: str | Path, text: str) -> list[Row]:
    """The lines with at least one separator or value."""
    separator = _separator(text)
    if separator == " ":
        return [Row(number, line.split()) for number, line in enumerate(io.StringIO(text), 1) if line.strip()]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        rows = [Row(reader.line_num, [field.strip() for field in fields]) for fields in reader]
    except csv.Error as error:
        raise ValueError(f"{path}: not a CSV text file: {reason(error)}") from error
    return [row for row in rows if len(row.fields) > 1 or any(row.fields)]


def _separator(text: str) -> str:
    """The most frequent separator of the header, which may be the last comment line; white space if it has none."""
    before = line = ""
    for found in io.StringIO(text):
        before, line = line, found if found.strip(" ,;\t\r\n") else line
        if line.strip() and not line.startswith("#"):
            break
    head = before + line if before.startswith("#") else line
    separator = max(_SEPARATORS, key=head.count)
    return " " if separator not in head and len(head.split()) > 1 else separator


def _below_comments(rows: list[Row]) -> list[Row]:
    """The rows from the header on, without the lines above it that begin with ``#``; the last of these may be the
    header itself."""
    rows = rows[next((index for index, row in enumerate(rows) if any(row.fields)), len(rows)) :]
    first = next((index for index, row in enumerate(rows) if not row.fields[0].startswith("#")), len(rows))
    if not first:
        return rows
    if first == len(rows) or not all(math.isnan(to_number(field)) for field in rows[first].fields):
        rows[first - 1].fields[0] = rows[first - 1].fields[0].lstrip("# ")
        return rows[first - 1 :]
    return rows[first:]


def _is_cut(header: Sequence[str], rows: Sequence[Row], text: str) -> bool:
    """Whether the last line has fewer fields than the header, or ends without a line break in an incomplete number."""
    last = rows[-1].fields
    if len(last) < len(header):
        return True
    if text.endswith(("\n", "\r")) or len(rows) < 2 or len(last) > len(header):
        return False
    before = rows[-2].fields[len(header) - 1 : len(header)]
    return math.isnan(_either_number(last[-1])) and not any(math.isnan(_either_number(field)) for field in before)


def _either_number(text: str) -> float:
    return to_number(text.replace(",", "."))


def _has_decimal_commas(rows: Sequence[Row]) -> bool:
    """Whether some field is a number with a decimal comma, and none is a number with a point."""
    fields = [field for row in rows for field in row.fields if "," in field or "." in field]
    return any("," in field and not math.isnan(_either_number(field)) for field in fields) and all(
        math.isnan(to_number(field)) for field in fields
    )
