"""What a tracker reports about its detections: whether it saw a face, its confidence, and which face."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from biomechau.corpus.csv_table import CsvTable
from biomechau.file_errors import shorten

# Columns that only a Fex table of py-feat has.
FEX_COLUMNS = frozenset({"facescore", "facerectx", "facerecty", "facerectwidth", "facerectheight", "approxtime"})
_FACE_BOX = ("facerectx", "facerecty", "facerectwidth", "facerectheight")
# Column names in lower case, without separators between words.
_FLAGS = frozenset(
    {"success", "detected", "facedetected", "isdetected", "isfacedetected", "detectionsuccess", "tracked", "istracked"}
    | {"facetracked", "hasface", "facefound", "facepresent", "valid", "isvalid", "facevalid"}
)
_CONFIDENCES = (
    *("confidence", "faceconfidence", "detectionconfidence", "trackingconfidence", "facescore", "detectionscore"),
    *("facedetectionscore", "score", "faceprobability"),
)
_FACES = ("faceid", "personid", "subjectid", "trackid", "face", "person", "faceindex", "faceidx", "facenumber")
_WORDS = {"true": 1.0, "yes": 1.0, "y": 1.0, "t": 1.0, "false": 0.0, "no": 0.0, "n": 0.0, "f": 0.0}
# Share of frames with a second box: below it the second boxes are false detections, above it there are two people.
_FALSE_BOXES = 0.1


class Detections(NamedTuple):
    """What a tracker reports about each row.

    Attributes:
        lost: (T,) bool, True where it reports no face.
        confidence: (T,) float64 in [0, 1], NaN where it is missing; None if there is no such column.
        used: positions of the columns that were read.
    """

    lost: NDArray[np.bool_]
    confidence: NDArray[np.float64] | None
    used: tuple[int, ...]


def read_detections(table: CsvTable) -> Detections:
    """Read the columns for success, confidence and the face box, if there are any.

    Raises:
        ValueError: a value is not a number, or above 1 in a column for success; the message names line and column.
    """
    names = _plain_names(table)
    lost = np.zeros(len(table.rows), np.bool_)
    used = [column for name, column in names.items() if name in FEX_COLUMNS]
    for name in sorted(_FLAGS & names.keys()):
        flags = np.array([_flag(table, text) for text in table.texts(names[name])])
        if np.isnan(flags).any():
            continue
        if (abs(flags) > 1).any():
            index = int((abs(flags) > 1).argmax())
            raise ValueError(f"{table.place(index, names[name])}: expected 0 or 1, found {flags[index]:g}")
        lost |= flags <= 0
        used.append(names[name])
    boxes = [names[name] for name in _FACE_BOX if name in names]
    lost |= np.isnan(table.numbers(boxes, missing=True).sum(1))
    column = next((names[name] for name in _CONFIDENCES if name in names), None)
    if column is None:
        return Detections(lost, None, tuple(used))
    confidence = table.numbers([column], missing=True)[:, 0]
    known = confidence[~np.isnan(confidence)]
    if not len(known) or known.min() < 0 or known.max() > 100:
        return Detections(lost, None, tuple(used))
    if known.max() > 1:
        confidence = confidence / 100  # per cent
    return Detections(lost | (confidence <= 0), confidence, (*used, column))


def fex_numbers(table: CsvTable) -> NDArray[np.float64] | None:
    """Frame numbers (T,) of a Fex table of images that are named by them, ``F001/T1/2440.jpg``; None otherwise."""
    column = table.find("input")
    stems = [] if column is None else [_stem(text) for text in table.texts(column)]
    # A video has one name for all rows; it does not number frames, even if the name is a number.
    images = stems and all(map(str.isdecimal, stems)) and (len(stems) == 1 or len(set(stems)) > 1)
    return np.array([float(stem) for stem in stems]) if images else None


def is_fex(table: CsvTable) -> bool:
    """Whether the table has columns that only py-feat writes."""
    return not FEX_COLUMNS.isdisjoint(_plain_names(table))


def choose_face(
    table: CsvTable, face: int | None, frames: Sequence[int] = ()
) -> tuple[CsvTable, tuple[str, ...], tuple[int, ...]]:
    """Select the rows of one face; return them with notes about what was left out and the columns that were read.

    If a column such as ``face_id`` lists several faces, one must be chosen, unless one face has nine of ten rows.
    Without such a column, two rows of one frame are a face and a false box: the one with the higher confidence is kept,
    provided that there are few such frames.

    Args:
        table: the file.
        face: number of the face to select, if there are several.
        frames: columns that identify the frame of a row.

    Raises:
        ValueError: there are several faces and none was chosen, or there is no such face; the message names them.
    """
    names = _plain_names(table)
    column = next((names[name] for name in _FACES if name in names), None)
    if column is not None:
        name = shorten(table.header[column])
        numbers = [table.number(text) for text in table.texts(column)]
        there = sorted({int(number) for number in numbers if math.isfinite(number) and number == round(number)})
        if len(there) > 1 or face is not None:
            counts = ", ".join(f"{_shown(number)} in {numbers.count(number)} rows" for number in there[:5])
            more = f" and {len(there) - 5} more" if len(there) > 5 else ""
            most = max(there, key=numbers.count)
            if face is None and numbers.count(most) >= (1 - _FALSE_BOXES) * len(numbers):
                face = most
            if face is None:
                raise ValueError(
                    f"{table.path}: {len(there)} faces by column {name}: {counts}{more}; "
                    f"choose one with face={_shown(there[0])} (--face {_shown(there[0])})"
                )
            if face not in there:
                raise ValueError(f"{table.path}: no face {face}; column {name} has {counts}{more}")
            rows = [index for index, number in enumerate(numbers) if number == face]
            left = len(numbers) - len(rows)
            return (
                table.select(rows),
                (f"rows of other faces than {face}, left out: {left}",) if left else (),
                (column,),
            )
        return (*_surest(table, names, frames), (column,))
    if face is not None:
        raise ValueError(f"{table.path}: no column face_id, so face {face} (--face) cannot be found")
    return (*_surest(table, names, frames), ())


def _surest(table: CsvTable, names: dict[str, int], frames: Sequence[int]) -> tuple[CsvTable, tuple[str, ...]]:
    """The table with the more confident of two rows of a frame, if there are few such frames."""
    column = next((names[name] for name in _CONFIDENCES if name in names), None)
    if column is None or not frames:
        return table, ()
    keys = [tuple(row.fields[position] for position in frames) for row in table.rows]
    doubled = len(keys) - len(set(keys))
    if not doubled or doubled > _FALSE_BOXES * len(set(keys)):
        return table, ()
    scores = np.nan_to_num(table.numbers([column], missing=True)[:, 0], nan=-math.inf)
    best: dict[tuple[str, ...], int] = {}
    for index, key in enumerate(keys):
        if key not in best or scores[index] > scores[best[key]]:
            best[key] = index
    note = f"second boxes of a frame with a lower {shorten(table.header[column])}, left out: {doubled}"
    return table.select(sorted(best.values())), (note,)


def _plain_names(table: CsvTable) -> dict[str, int]:
    """Position of each column by its name in lower-case letters and digits; the first if names collide."""
    names: dict[str, int] = {}
    for column, name in enumerate(table.header):
        names.setdefault(re.sub(r"[\W_]+", "", name).lower(), column)
    return names


def _flag(table: CsvTable, text: str) -> float:
    """0 for "no" and for an empty cell, NaN for any other word."""
    if text.lower() in ("", "nan", "na"):
        return 0.0
    return _WORDS.get(text.lower(), table.number(text))


def _shown(face: int) -> str:
    return shorten(str(face), 24)


def _stem(text: str) -> str:
    path = PureWindowsPath(text) if "\\" in text else PurePosixPath(text)
    return path.stem
