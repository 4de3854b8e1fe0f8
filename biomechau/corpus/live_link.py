"""Reader of the CSV files that the Live Link Face app records."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from biomechau.corpus.csv_table import CsvTable, Row
from biomechau.corpus.face_sequence import LARGEST_COEFFICIENT, FaceSequence, check_frame_rate, find_dropped
from biomechau.corpus.resampling import check_span
from biomechau.file_errors import naming, quote
from biomechau.rig.names import ARKIT_SHAPES, canonical, shortened

# Drop-frame timecodes have a semicolon before the frame number.
_TIMECODE = re.compile(r"(\d{1,3}):([0-5]\d):([0-5]\d)[:;](\d{1,3})(\.\d+)?", re.ASCII)
# Frame numbers that start again before this do not count 60 a second, whatever few frames were dropped there.
_BELOW_60 = 55
_POSE = tuple(f"{part}{axis}" for part in ("Head", "LeftEye", "RightEye") for axis in ("Yaw", "Pitch", "Roll"))
_OPTIONAL = frozenset({"tongueout"})  # some writers leave it out
_DAY = 86400


class _Timecode(NamedTuple):
    seconds: int
    frame: float


def read_live_link(path: str | Path, timecode_fps: float | None = None) -> FaceSequence:
    """Read a Live Link Face recording at its own frame rate, its first frame at 0 seconds.

    Columns are found by name, in any order and spelling: ``Timecode``, the ARKit blendshapes (51 or 52), and head and
    eye angles, which may be absent. Timecodes are ``HH:MM:SS:FF.mmm`` with a frame number FF, or ``HH:MM:SS;FF.mmm``;
    hours may pass 24, and a recording may pass midnight. Missing frames are listed in ``dropped``, and so are the
    numbers that a drop-frame timecode leaves out; a frame with the timecode of the one before is left out and listed in
    ``repeated``.

    Args:
        path: the CSV file.
        timecode_fps: frames per second that FF counts. Default: 30 when FF starts again after 29, else 60; ``source``
            tells when 60 is a guess.

    Raises:
        ValueError: no header, no frames, a column that is missing, unknown or there twice, a broken timecode, frame
            numbers of another rate than 30 or 60 without ``timecode_fps``, time going backwards, a value that is not a
            finite number, a coefficient beyond 10, times too far apart; the message names file, line and column.
        OSError: the file cannot be read.
    """
    if timecode_fps is not None:
        check_frame_rate(timecode_fps)
    table = CsvTable.read(path)
    header, rows = table.header, table.rows
    time_column, shape_columns, pose_columns = _find_columns(path, header)
    timecodes = [_parse_timecode(path, row, row.fields[time_column]) for row in rows]
    rate = timecode_fps or _infer_rate(path, timecodes)
    ticks, repeated = _count_frames(path, rows, timecodes, rate)
    coefficients = table.numbers(shape_columns, LARGEST_COEFFICIENT).astype(np.float32)
    pose = table.numbers(pose_columns, float(np.finfo(np.float32).max)).astype(np.float32)

    kept = np.setdiff1d(np.arange(len(rows)), repeated)
    ticks = ticks[kept]
    source = f"Live Link Face {Path(path).name}, from timecode {rows[0].fields[time_column]}"
    if timecode_fps is None and rate == 60 and max(code.frame for code in timecodes) < 30:
        source += ", taken as 60 timecode frames a second, which its few frames do not tell"
    fps = rate / _usual_step(ticks)
    with naming(f"{path}: column Timecode"):
        check_frame_rate(fps)
    timestamp = torch.from_numpy((ticks - ticks[0]) / rate)

    def place(index: int) -> str:
        row = rows[kept[index]]
        return f"{path}:{row.line}: column Timecode: {quote(row.fields[time_column])}"

    check_span(timestamp, fps, place)
    return FaceSequence(
        name=Path(path).stem,
        coefficients=torch.from_numpy(coefficients[kept]),
        channels=tuple(header[column] for column in shape_columns),
        timestamp=timestamp,
        valid=torch.ones(len(kept), dtype=torch.bool),
        fps=fps,
        dropped=find_dropped(timestamp, fps),
        source=source,
        pose=torch.from_numpy(pose[kept]),
        pose_channels=tuple(header[column] for column in pose_columns),
        repeated=tuple(repeated),
    )


def _find_columns(path: str | Path, header: list[str]) -> tuple[int, list[int], list[int]]:
    """Positions of the timecode, of the blendshapes and of the head and eye angles."""
    index: dict[str, int] = {}
    for column, name in enumerate(header):
        if canonical(name) in index:
            raise ValueError(f"{path}:1: column {quote(name)} is there twice")
        index[canonical(name)] = column
    shapes, pose = ([canonical(name) for name in names] for names in (ARKIT_SHAPES, _POSE))
    missing = [name for name in ("Timecode", *ARKIT_SHAPES) if canonical(name) not in index.keys() | _OPTIONAL]
    if missing:
        columns = "column" if len(missing) == 1 else "columns"
        raise ValueError(f"{path}:1: missing {columns} {shortened(missing)}; is it a Live Link Face recording?")
    unknown = [
        header[column] for key, column in index.items() if key not in {"timecode", "blendshapecount", *shapes, *pose}
    ]
    if unknown:
        raise ValueError(f"{path}:1: unknown column {shortened(list(map(repr, unknown)))}")
    shape_columns, pose_columns = (sorted(index[key] for key in keys if key in index) for keys in (shapes, pose))
    return index["timecode"], shape_columns, pose_columns


def _parse_timecode(path: str | Path, row: Row, text: str) -> _Timecode:
    match = _TIMECODE.fullmatch(text)
    if match is None:
        raise ValueError(f"{path}:{row.line}: column Timecode: expected HH:MM:SS:FF.mmm, found {quote(text)}")
    hours, minutes, seconds, frame, fraction = match.groups()
    return _Timecode(3600 * int(hours) + 60 * int(minutes) + int(seconds), float(frame + (fraction or "")))


def _infer_rate(path: str | Path, timecodes: list[_Timecode]) -> float:
    """30 if frame numbers stay below 30 and run on without a gap where a second begins, else 60, the app's default."""
    seconds, frames = np.array(timecodes).T
    steps = np.diff(frames)
    within = steps[(np.diff(seconds) == 0) & (steps > 0)]
    usual = np.median(within) if len(within) else math.nan
    # The rate at which each second would run on into the next; frames dropped in between make it too low.
    rates = usual - steps[np.diff(seconds) == 1]
    if frames.max() < 30 and (abs(rates - 30) < usual / 2).any():
        return 30.0
    if frames.max() < (apparent := rates.max(initial=-math.inf)) < _BELOW_60:
        raise ValueError(
            f"{path}: column Timecode: frame numbers start again after {frames.max():g}, as at {apparent:g} frames a "
            "second: give timecode_fps (--recorded-fps)"
        )
    return 60.0


def _count_frames(
    path: str | Path, rows: list[Row], timecodes: list[_Timecode], rate: float
) -> tuple[np.ndarray, list[int]]:
    """Time of each row in timecode frames, never falling, and the rows that repeat the time before them."""
    ticks: list[float] = []
    repeated: list[int] = []
    midnight = 0
    for index, (row, code) in enumerate(zip(rows, timecodes, strict=True)):
        if code.frame >= math.ceil(rate):
            raise ValueError(f"{path}:{row.line}: column Timecode: frame {code.frame:g} is not below {rate:g} fps")
        tick = (code.seconds + midnight) * rate + code.frame
        # The clock went back by most of a day: midnight. By less: a broken file.
        if ticks and tick < ticks[-1] - _DAY / 2 * rate:
            midnight += _DAY
            tick += _DAY * rate
        if ticks and tick < ticks[-1]:
            raise ValueError(f"{path}:{row.line}: column Timecode: time goes backwards from the line before")
        if ticks and tick == ticks[-1]:
            repeated.append(index)
        ticks.append(tick)
    return np.array(ticks), repeated


def _usual_step(ticks: np.ndarray) -> float:
    """Timecode frames from one recorded frame to the next: 1, or 2, 3... or 1/2, 1/3... when the two rates differ."""
    step = float(np.median(np.diff(ticks))) if len(ticks) > 1 else 1.0
    return float(round(step)) if step > 0.75 else 1 / round(1 / step)
