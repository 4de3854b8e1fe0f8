"""Label files of BP4D and DISFA, and the labels of one sequence."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.corpus.csv_table import CsvTable, Row, read_rows, to_number
from biomechau.corpus.frame_columns import LARGEST_FRAME, find_frame_column
from biomechau.corpus.resampling import check_frame_numbers
from biomechau.file_errors import quote

# BP4D's code for frames that were not, or could not be, coded.
NOT_CODED = 9


class Codes(NamedTuple):
    """Frame numbers (T,) int64, increasing, and the codes of these frames, (T,) or (T, R) int64."""

    frame: NDArray[np.int64]
    code: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class FrameLabels:
    """Labels of every frame of a sequence, from the first to the last.

    Attributes:
        frame: (T,) int64, frame numbers without gaps.
        labels: (T, R) int8, 1 on, 0 off, -1 unknown.
        intensities: (T, R) float32, 0 to 5, -1 unknown; None if there are none.
    """

    frame: NDArray[np.int64]
    labels: NDArray[np.int8]
    intensities: NDArray[np.float32] | None = None

    @classmethod
    def of_columns(
        cls, columns: Mapping[int, Codes], files: Mapping[int, Path], intensities: Mapping[int, Codes] | None = None
    ) -> FrameLabels:
        """Combine the labels (1, 0, -1) of several action units; frames that are missing for a unit are -1.

        Args:
            columns: labels by action unit.
            files: of the action units, for messages.
            intensities: 0 to 5, -1 if unknown, of some of the action units; those of frames without labels are ignored.

        Raises:
            ValueError: the frames of the files are too far apart; the message names a file.
        """
        frame = np.unique(np.concatenate([codes.frame for codes in columns.values()]))

        def place(index: int) -> str:
            unit = next(unit for unit, codes in columns.items() if frame[index] in codes.frame)
            return f"{files[unit]}: frame {frame[index]}"

        check_frame_numbers(torch.from_numpy(frame), place)
        first = min(int(codes.frame[0]) for codes in columns.values())
        last = max(int(codes.frame[-1]) for codes in columns.values())
        labels = np.full((last - first + 1, len(columns)), UNKNOWN, np.int8)
        for column, codes in enumerate(columns.values()):
            labels[codes.frame - first, column] = codes.code
        if not intensities:
            return cls(np.arange(first, last + 1), labels)
        strength = np.full(labels.shape, UNKNOWN, np.float32)
        for unit, codes in intensities.items():
            inside = (codes.frame >= first) & (codes.frame <= last)
            strength[codes.frame[inside] - first, list(columns).index(unit)] = codes.code[inside]
        return cls(np.arange(first, last + 1), labels, strength)

    @classmethod
    def of_intensities(cls, intensities: Mapping[int, Codes], files: Mapping[int, Path], threshold: int) -> FrameLabels:
        """The intensities of action units, which are on from a threshold; as :meth:`of_columns`."""
        labels = {
            unit: Codes(frame, np.where(code == UNKNOWN, UNKNOWN, code >= threshold))
            for unit, (frame, code) in intensities.items()
        }
        return cls.of_columns(labels, files, intensities)


def read_occurrences(path: Path, action_units: tuple[int, ...]) -> dict[int, Codes]:
    """Read an occurrence file of BP4D: a header ``0,1,...,99``, frame numbers in column 0, codes 0, 1 and 9.

    Copies with names in the header, ``frame,AU1,...`` or ``frame,AU01,...``, are supported as well.

    Returns:
        Labels 1, 0 and -1 of each action unit.

    Raises:
        ValueError: an action unit has no column, there is another code, or a frame appears twice; the message names
            file and line.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path)
    columns = [table.find("0"), *(_unit_column(table, unit) for unit in action_units)]
    if columns[0] is None:
        columns[0] = find_frame_column(table)
    if columns[0] is None:
        raise ValueError(f'{path}:1: missing frame numbers (column "0" or frame); is it an occurrence file of BP4D?')
    missing = [f"AU{unit}" for unit, column in zip(action_units, columns[1:], strict=True) if column is None]
    if missing:
        raise ValueError(f"{path}:1: missing column{'s' * (len(missing) > 1)} for {', '.join(missing)}")
    found = [column for column in columns if column is not None]
    codes = _read_codes(path, table.rows, found, (0, 1, NOT_CODED))
    labels = np.where(codes.code == NOT_CODED, UNKNOWN, codes.code)
    return {unit: Codes(codes.frame, labels[:, index]) for index, unit in enumerate(action_units)}


def read_intensities(path: Path, not_coded: bool) -> Codes:
    """Read a file of lines ``frame,intensity``, intensities 0 to 5, separated by commas, semicolons, tabs or spaces.

    A first line without any number is a header, which is ignored.

    Args:
        path: the file.
        not_coded: whether 9 means an unknown intensity, as in BP4D.

    Returns:
        Intensities, -1 if unknown.

    Raises:
        ValueError: the file is empty, there is another intensity, or a frame appears twice; the message names file and
            line.
        OSError: the file cannot be read.
    """
    rows = read_rows(path)
    if rows and all(math.isnan(to_number(field)) for field in rows[0].fields) and len(rows) > 1:
        rows = rows[1:]
    if not rows:
        raise ValueError(f"{path}: the file is empty, expected lines of a frame number and an intensity")
    for row in rows:
        if len(row.fields) != 2:
            raise ValueError(
                f"{path}:{row.line}: expected a frame number and an intensity, found {len(row.fields)} fields"
            )
    codes = _read_codes(path, rows, [0, 1], (*range(6), *([NOT_CODED] * not_coded)))
    intensity = codes.code[:, 0]
    return Codes(codes.frame, np.where(intensity == NOT_CODED, UNKNOWN, intensity))


def _unit_column(table: CsvTable, unit: int) -> int | None:
    """The column of an action unit, by its number or its name."""
    names = (str(unit), f"AU{unit}", f"AU{unit:02d}")
    return next((column for name in names if (column := table.find(name)) is not None), None)


def _read_codes(path: Path, rows: list[Row], columns: list[int], allowed: tuple[int, ...]) -> Codes:
    """Frame numbers of the first column and codes of the others, in the order of the frames."""
    values = np.empty((len(rows), len(columns)), np.int64)
    lines: dict[int, int] = {}
    for index, row in enumerate(rows):
        for position, column in enumerate(columns):
            text = row.fields[column]
            number = to_number(text)  # some programs write 1 as 1.0
            if position == 0 and not (number == number // 1 and 0 <= number <= LARGEST_FRAME):
                limit = f", more than {LARGEST_FRAME:,}" if number > LARGEST_FRAME else ""
                raise ValueError(f"{path}:{row.line}: expected a frame number, found {quote(text)}{limit}")
            if position and number not in allowed:
                expected = f"{', '.join(map(str, allowed[:-1]))} or {allowed[-1]}"
                raise ValueError(f"{path}:{row.line}: expected a code of {expected}, found {quote(text)}")
            values[index, position] = int(number)
        frame = int(values[index, 0])
        if frame in lines:
            raise ValueError(f"{path}:{row.line}: frame {frame} appears twice, first in line {lines[frame]}")
        lines[frame] = row.line
    order = np.argsort(values[:, 0])
    values = values[order]
    check_frame_numbers(torch.from_numpy(values[:, 0]), lambda index: f"{path}:{rows[order[index]].line}")
    return Codes(values[:, 0], values[:, 1:])
