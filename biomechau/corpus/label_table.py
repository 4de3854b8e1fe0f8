"""Tables of labels: one row per frame, one column per action unit, or one for each of its sides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from biomechau.corpus.corpus_sequence import UNKNOWN
from biomechau.corpus.csv_table import CsvTable
from biomechau.file_errors import quote

# AU12, AU12_left, AU12L, AU12_R, ...
_COLUMN = re.compile(r"AU0*(?P<unit>[1-9]\d?)(?:[ _-]?(?P<side>L|R|left|right))?", re.ASCII | re.IGNORECASE)
_SIDES = {"": "", "l": "left", "r": "right"}
# What cells may hold, by what it means; 9 is BP4D's code for what was not coded. Empty cells are unknown too.
_CODES = {0: 0, 1: 1, -1: UNKNOWN, 9: UNKNOWN}


class LabelTable(NamedTuple):
    """Labels of T frames.

    Attributes:
        labels: (T, R) int8, 1 on, 0 off, -1 unknown.
        side_labels: (T, R, 2) int8, left and right; None if no column has a side.
    """

    labels: Tensor
    side_labels: Tensor | None


def read_labels(path: str | Path, action_units: Sequence[int]) -> LabelTable:
    """Read the labels of one recording from a CSV file with one row per frame.

    The column ``AU12`` says whether the unit is on, ``AU12_left`` or ``AU12L`` whether it is on the left,
    ``AU12_right`` or ``AU12R`` on the right. Cells are 1, 0, and -1, 9 or empty for unknown. A unit without a column of
    its own is on where one side is, and off where both are; where a unit is off, both sides are. Other columns are
    ignored.

    Args:
        path: of the file.
        action_units: numbers of the R action units to read.

    Raises:
        ValueError: an action unit has no column, two columns mean the same, or a cell holds something else; the message
            names file and line.
        OSError: the file cannot be read.
    """
    table = CsvTable.read(path)
    columns = unit_columns(table)
    missing = [f"AU{unit}" for unit in action_units if not any(key[0] == unit for key in columns)]
    if missing:
        raise ValueError(f"{path}:1: no column for {', '.join(missing)}, expected AU12, or AU12_left and AU12_right")
    labels = np.full((len(table.rows), len(action_units), 3), UNKNOWN, np.int8)  # whole, left, right
    for row, unit in enumerate(action_units):
        for place, side in enumerate(("", "left", "right")):
            if (column := columns.get((unit, side))) is not None:
                labels[:, row, place] = _codes(table, column)
    whole, sides = labels[..., 0], labels[..., 1:]
    sides[(whole == 0)[..., None] & (sides == UNKNOWN)] = 0
    either = np.where((sides == 1).any(-1), 1, np.where((sides == 0).all(-1), 0, UNKNOWN))
    whole = np.where(whole == UNKNOWN, either, whole).astype(np.int8)
    sided = any(side and unit in action_units for unit, side in columns)
    return LabelTable(torch.from_numpy(whole), torch.from_numpy(sides.copy()) if sided else None)


def unit_columns(table: CsvTable) -> dict[tuple[int, str], int]:
    """Position of each column by its action unit and side: "left", "right" or "" for the whole.

    Without a column of a left side ``AU12_r`` is an intensity of OpenFace.

    Raises:
        ValueError: two columns mean the same; the message names the file.
    """
    matches = {position: _COLUMN.fullmatch(name) for position, name in enumerate(table.header)}
    found = {position: match for position, match in matches.items() if match is not None}
    sided = any((match["side"] or "")[:1] in ("l", "L") for match in found.values())
    columns: dict[tuple[int, str], int] = {}
    for position, match in found.items():
        if match["side"] == "r" and not sided:
            continue
        key = int(match["unit"]), _SIDES[(match["side"] or "")[:1].lower()]
        if key in columns:
            both = quote(table.header[columns[key]]), quote(table.header[position])
            raise ValueError(f"{table.path}:1: {both[0]} and {both[1]} are one column")
        columns[key] = position
    return columns


def _codes(table: CsvTable, column: int) -> NDArray[np.int8]:
    values = table.numbers([column], missing=True)[:, 0]
    wrong = np.flatnonzero(~np.isnan(values) & ~np.isin(values, list(_CODES)))
    if len(wrong):
        index = int(wrong[0])
        found = quote(table.rows[index].fields[column])
        raise ValueError(f"{table.place(index, column)}: expected 1, 0, or -1, 9 or nothing for unknown, found {found}")
    codes = np.full(len(values), UNKNOWN, np.int8)
    for code, label in _CODES.items():
        codes[values == code] = label
    return codes
