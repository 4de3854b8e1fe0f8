"""A CSV file as a table whose rows know their line, whatever separates its fields and spells its numbers."""

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
# By their first bytes; the longer mark first, because UTF-16's begins UTF-32's.
_MARKS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


class Row(NamedTuple):
    """One line: its number in the file, and its fields without spaces around them."""

    line: int
    fields: list[str]


@dataclass(frozen=True)
class CsvTable:
    """The header and the rows of a CSV file; blank lines, empty last columns and ``#`` lines at the top are left out.

    Attributes:
        path: of the file.
        header: names of the columns.
        rows: in the order of the file.
        decimal: what numbers have before their fraction, ``"."`` or ``","``.
        notes: what was odd, in words.
        lines: whether rows are lines of the file; else they are its frames, counted from 1.
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

        It is in UTF-8, UTF-16 or Windows-1252. Numbers may have a decimal comma where commas do not separate.

        Args:
            path: the file.
            data: its content, where it is part of another file; ``path`` only names it then.
            recording: leave out a last line that ends too early, with a note, and keep rows without any value between
                others; the one is refused and the others are left out if not.

        Raises:
            ValueError: not such a file, no header, no rows, a row with another number of fields than the header; the
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
        """Position of a column, whatever its capitals; None where there is none.

        Raises:
            ValueError: the column is there twice.
        """
        found = [column for column, other in enumerate(self.header) if other.casefold() == name.casefold()]
        if len(found) > 1:
            raise ValueError(f"{self.path}:1: column {name!r} is there twice")
        return found[0] if found else None

    def select(self, rows: Sequence[int]) -> CsvTable:
        """The same table with some of its rows."""
        return replace(self, rows=[self.rows[index] for index in rows])

    def line(self, index: int) -> str:
        """Where a row is, for messages."""
        return f"{self.path}{':' if self.lines else ': frame '}{self.rows[index].line}"

    def place(self, index: int, column: int) -> str:
        """Where the field of a row is, for messages."""
        return f"{self.line(index)}: column {shorten(self.header[column])}"

    def texts(self, column: int) -> list[str]:
        """The fields of one column."""
        return [row.fields[column] for row in self.rows]

    def number(self, text: str) -> float:
        """The number that a field spells; NaN where it spells none."""
        return to_number(text.replace(",", ".") if self.decimal == "," else text)

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
                if missing and found.lower() in MISSING:
                    values[index, position] = math.nan
                    continue
                value = self.number(found)
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
    return [row for row in _parse(path, _decode(path, None)) if any(row.fields)]


def to_number(text: str) -> float:
    """The number that a text spells; NaN where it spells none."""
    try:
        # Python also reads 1_0 and the digits of other scripts.
        return float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return math.nan


def _decode(path: str | Path, data: bytes | None) -> str:
    if data is None:
        regular_file(path)
        data = Path(path).read_bytes()
    encoding = next((encoding for mark, encoding in _MARKS if data.startswith(mark)), "utf-8")
    if encoding == "utf-8" and data[1:2] == b"\0" and data[:1].isalnum():
        encoding = "utf-16-le"  # without a mark
    if encoding.startswith("utf-16"):
        data = data[: len(data) // 2 * 2]  # a cut last character is a cut last line
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        try:
            text = data.decode("cp1252")  # of spreadsheets
        except UnicodeDecodeError:
            text = "\0"
        if "\0" in text:
            raise ValueError(f"{path}: not a CSV text file: {reason(error)}") from error
    return text


def _parse(path: str | Path, text: str) -> list[Row]:
    """The lines that hold a field, empty fields included."""
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
    """What is most frequent in the header, the first line or that around the end of the comments; else white space."""
    before = line = ""
    for found in io.StringIO(text):
        before, line = line, found if found.strip(" ,;\t\r\n") else line
        if line.strip() and not line.startswith("#"):
            break
    head = before + line if before.startswith("#") else line
    separator = max(_SEPARATORS, key=head.count)
    return " " if separator not in head and len(head.split()) > 1 else separator


def _below_comments(rows: list[Row]) -> list[Row]:
    """The rows from the header on: below lines that begin with ``#``, the last of which may be the header itself."""
    rows = rows[next((index for index, row in enumerate(rows) if any(row.fields)), len(rows)) :]
    first = next((index for index, row in enumerate(rows) if not row.fields[0].startswith("#")), len(rows))
    if not first:
        return rows
    if first == len(rows) or not all(math.isnan(to_number(field)) for field in rows[first].fields):
        rows[first - 1].fields[0] = rows[first - 1].fields[0].lstrip("# ")
        return rows[first - 1 :]
    return rows[first:]


def _is_cut(header: Sequence[str], rows: Sequence[Row], text: str) -> bool:
    """Whether the last line has fewer fields than the header, or ends without a line break in half a number."""
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
    """Whether some field is a number with a comma, and none is one with a point."""
    fields = [field for row in rows for field in row.fields if "," in field or "." in field]
    return any("," in field and not math.isnan(_either_number(field)) for field in fields) and all(
        math.isnan(to_number(field)) for field in fields
    )
