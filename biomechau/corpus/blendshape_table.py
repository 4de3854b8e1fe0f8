"""Reader of tables of blendshapes, whatever wrote them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from biomechau.corpus.channel_names import Channels, find_channels, listed
from biomechau.corpus.csv_table import CsvTable
from biomechau.corpus.detections import choose_face, fex_numbers, is_fex, read_detections
from biomechau.corpus.face_sequence import LARGEST_COEFFICIENT, FaceSequence
from biomechau.corpus.frame_columns import find_frame_column, find_time_column, need_times, read_frame_columns
from biomechau.corpus.mediapipe import MEDIAPIPE_SHAPES
from biomechau.corpus.tracked_sequence import Tracked, tracked_sequence
from biomechau.file_errors import naming
from biomechau.rig.names import shortened

_LIVE_LINK = frozenset({"timecode", "blendshapecount"})
_SILENT = frozenset({"blendshapecount", "input", "identity"})  # say nothing of the face
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
    """Read a CSV file of blendshapes over time, of Live Link Face, MediaPipe, py-feat 2 or any other writer.

    Columns are found by name in any order and spelling, separated by commas, semicolons or tabs; ARKit's shapes, or
    some of them, and head and eye angles. Other columns are left out, ``_neutral`` among them. Times come from a
    timecode (:func:`biomechau.corpus.timecode.read_timecodes`), a column of times with or without a date, or frame
    numbers and ``fps``. Timecodes and clock times begin at 0 seconds.

    A frame is not valid where it has no values, all of them are 0, or a column such as ``success`` says so; likewise
    one that is seen for a moment between long times without a face. A frame that repeats the one before, with its time,
    is left out and listed in ``repeated``. What was left out or is missing, and how times were read, is said in
    ``notes``.

    Args:
        path: the file.
        fps: frame rate [1/s], in place of the file's own times; of timecodes the frames that they count a second.
        count_rows: the rows are frames at an even rate, ``fps``, whatever times the file has.
        wanted: names of other shapes to look for: those of a rig, or of a table of channels.
        face: number of the face to read, where the file has several.
        data: content of the file, where it is part of another one.

    Raises:
        ValueError: not a table, no known shape, a shape there twice, a value that is not a number or beyond 10, a row
            with some values only, no row with a face, several faces and none chosen, times that do not rise or do not
            tell frames apart, a usual step of half a second or more, no frame rate; the message names file, line and
            column.
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
    """As :func:`read_blendshape_table`, of a table that was read; ``measured`` as of :class:`Tracked`.

    Raises:
        ValueError: as :func:`read_blendshape_table`.
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
    table, left, told = choose_face(table, face, [column for column in keys if column is not None][:1])
    times = read_frame_columns(table, shapes, fps, fex_numbers(table), count_rows)
    timestamp, rate = need_times(table, times)
    table = table.select(times.rows.tolist())
    found = read_detections(table)
    used = {*times.used, *found.used, *told, time, number}
    others = [name for name in channels.others if table.header.index(name) not in used]
    notes += [*left, *times.notes, *channel_notes(channels, others)]
    live = not _LIVE_LINK.isdisjoint(name.lower() for name in table.header)
    kind = "py-feat blendshapes of" if fex else "Live Link Face" if live else _kind(table)
    sequence = Tracked(
        name=table.path.stem,
        source=f"{kind} {table.path.name}" + (f", from timecode {times.timecode}" if times.timecode else ""),
        channels=tuple(channels.shapes),
        values=table.numbers(shapes, LARGEST_COEFFICIENT, missing=True),
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
    """What a recording has beside the known shapes and, if asked, what it lacks of ARKit's, in words."""
    unknown = [name for name in others if name.lower() not in _SILENT]
    missing = channels.missing if name_missing else ()
    return [
        *([listed("columns that are no blendshapes, left out", unknown)] if unknown else []),
        *([listed("blendshapes that are missing", missing)] if missing else []),
    ]


def no_shapes(names: Sequence[str]) -> str:
    """What to say of columns none of which is a known shape."""
    return (
        f"none of its {len(names)} columns has the name of a blendshape, such as jawOpen: {shortened(names)}; for "
        "other names --channels MAP.csv says which column drives which shape"
    )


def _no_shapes(table: CsvTable) -> str:
    names = {name.lower() for name in table.header}
    if names & _OPENFACE:
        return "an OpenFace file, which holds no blendshapes but action units (read_action_units reads them)"
    if any(map(_ACTION_UNIT.fullmatch, names)) and not is_fex(table):
        return "a table of action units, which holds no blendshapes (read_action_units reads it)"
    if is_fex(table):
        return (
            "a py-feat table without blendshapes, which version 2 writes; it holds action units only "
            "(read_action_units reads them)"
        )
    return no_shapes(table.header)


def _kind(table: CsvTable) -> str:
    return "MediaPipe blendshapes of" if set(MEDIAPIPE_SHAPES).issubset(table.header) else "blendshapes of"
