"""Reader of blendshape tables of any program."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from biomechau.corpus.channel_names import MEDIAPIPE_SHAPES, Channels, find_channels, listed
from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.detections import choose_face, fex_numbers, is_fex, read_detections
from biomechau.corpus.face_sequence import COEFFICIENT_SCALE, LARGEST_COEFFICIENT, FaceSequence
from biomechau.corpus.frame_columns import find_frame_column, find_time_column, need_times, read_frame_columns
from biomechau.corpus.tracked_sequence import Tracked, tracked_sequence
from biomechau.file_errors import naming
from biomechau.rig.names import shortened

_LIVE_LINK = frozenset({"timecode", "blendshapecount"})
_SILENT = frozenset({"blendshapecount", "input", "identity"})  # not worth a note
_ACTION_UNIT = re.compile(r"au_?\d{1,2}(_intensity)?", re.ASCII)
_OPENFACE = frozenset({"au01_r", "au01_c", "au12_r", "au12_c"})


def read_blendshape_table(
    path: str | Path,
    fps: float | None = None,
    count_rows: bool = False,
    wanted: Iterable[str] = (),
    face: int | None = None,
    data: bytes | None = None,
) -> FaceSequence:
    """Read a CSV file of blendshapes over time from Live Link Face, MediaPipe, py-feat 2 or any other program.

    Columns are found by name, in any order and spelling: ARKit's shapes, or some of them, and head and eye angles.
    Other columns, such as ``_neutral``, are left out. They are separated by commas, semicolons or tabs. Times come from
    a timecode (:func:`biomechau.corpus.timecode.read_timecodes`), a column of times with or without a date, or frame
    numbers and ``fps``. Timecodes and clock times are shifted to begin at 0 seconds.

    A frame is not valid if it has no values, all of them are 0, or a column such as ``success`` reports no face.
    Detections of a moment between long stretches without a face are not valid either. A frame that repeats the frame
    before it, including its time, is left out and listed in ``repeated``. ``notes`` say what was left out, what is
    missing, and how times were read.

    Args:
        path: the file.
        fps: frame rate [1/s], instead of the file's own times; for timecodes, the number of frames per second.
        count_rows: treat rows as frames at an even rate, ``fps``, and ignore the file's times.
        wanted: names of other shapes to look for: those of a rig, or of a table of channels.
        face: number of the face to read, if the file has several.
        data: content of the file, if it is part of another one.

    Raises:
        ValueError: not a table, no known shape, a shape that appears twice, a value that is not a number or exceeds 10,
            a row with missing values, no row with a face, several faces and none chosen, times that do not increase or
            do not distinguish frames, a typical step of half a second or more, no frame rate; the message names file,
            line and column.
        OSError: the file cannot be read.
    """
    return table_sequence(CsvTable.read(path, data, recording=True), fps, count_rows, wanted, face)


def table_sequence(
    table: CsvTable,
    fps: float | None = None,
    count_rows: bool = False,
    wanted: Iterable[str] = (),
    face: int | None = None,
    measured: bool = True,
) -> FaceSequence:
    """Like :func:`read_blendshape_table`, for a table in memory; ``measured`` is that of :class:`Tracked`.

    Raises:
        ValueError: see :func:`read_blendshape_table`.
    """
    path = table.path
    place = f"{path}:1" if table.lines else str(path)
    with naming(place):
        channels = find_channels(table.header, wanted)
    if not channels.shapes:
        raise ValueError(f"{place}: {_no_shapes(table)}")
    shapes, angles = list(channels.shapes.values()), list(channels.pose.values())
    notes = list(table.notes)
    time, number = find_time_column(table), find_frame_column(table)
    filled = [index for index, row in enumerate(table.rows) if any(row.fields)]
    if not count_rows and (time, number) != (None, None) and len(filled) < len(table.rows):
        notes.append(f"rows without any value, left out: {len(table.rows) - len(filled)}")
        table = table.select(filled)
    fex = is_fex(table)
    keys = [column for column in (table.find("input") if fex_numbers(table) is not None else None, number, time)]
    table, left, face_columns = choose_face(table, face, [column for column in keys if column is not None][:1])
    times = read_frame_columns(table, shapes, fps, fex_numbers(table), count_rows)
    timestamp, rate = need_times(table, times)
    table = table.select(times.rows.tolist())
    found = read_detections(table)
    used = {*times.used, *found.used, *face_columns, time, number}
    others = [name for name in channels.others if table.header.index(name) not in used]
    notes += [*left, *times.notes, *channel_notes(channels, others)]
    live = not _LIVE_LINK.isdisjoint(name.lower() for name in table.header)
    kind = "py-feat blendshapes of" if fex else "Live Link Face" if live else _kind(table)
    sequence = Tracked(
        name=table.path.stem,
        source=f"{kind} {table.path.name}" + (f", from timecode {times.timecode}" if times.timecode else ""),
        channels=tuple(channels.shapes),
        values=table.numbers(shapes, LARGEST_COEFFICIENT, missing=True, scale=COEFFICIENT_SCALE),
        timestamp=timestamp,
        fps=rate,
        place=table.line,
        lost=found.lost,
        confidence=found.confidence,
        frame=times.frame,
        rows=times.rows,
        repeated=times.repeated,
        pose=table.numbers(angles, float(np.finfo(np.float32).max), missing=True),
        pose_channels=tuple(channels.pose),
        notes=notes,
        measured=measured,
        name_dead=measured and not live,
    )
    with naming(path):
        return tracked_sequence(sequence)


def channel_notes(channels: Channels, others: Sequence[str], name_missing: bool = True) -> list[str]:
    """Notes about columns other than known shapes and, with ``name_missing``, about ARKit's shapes that are missing."""
    unknown = [name for name in others if name.lower() not in _SILENT]
    missing = channels.missing if name_missing else ()
    return [
        *([listed("columns that are not blendshapes, left out", unknown)] if unknown else []),
        *([listed("missing blendshapes", missing)] if missing else []),
    ]


def no_shapes(names: Sequence[str]) -> str:
    """The error message for columns none of which is a known shape."""
    return (
        f"none of its {len(names)} columns has the name of a blendshape, such as jawOpen: {shortened(names)}; for "
        "other names give a table of which column drives which shape (--channels MAP.csv)"
    )


def _no_shapes(table: CsvTable) -> str:
    names = {name.lower() for name in table.header}
    if names & _OPENFACE:
        return "an OpenFace file, which has action units but no blendshapes (biomechau compare reads them)"
    if any(map(_ACTION_UNIT.fullmatch, names)) and not is_fex(table):
        return "a table of action units without blendshapes (biomechau compare reads it)"
    if is_fex(table):
        return (
            "a py-feat table without blendshapes, which only version 2 writes; it has action units only "
            "(biomechau compare reads them)"
        )
    return no_shapes(table.header)


def _kind(table: CsvTable) -> str:
    return "MediaPipe blendshapes of" if set(MEDIAPIPE_SHAPES).issubset(table.header) else "blendshapes of"
