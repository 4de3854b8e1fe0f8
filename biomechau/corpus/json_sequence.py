"""Reader of blendshapes in JSON files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from biomechau.corpus.blendshape_table import table_sequence
from biomechau.corpus.csv_table import CsvTable, Row
from biomechau.corpus.face_sequence import FaceSequence, check_frame_rate
from biomechau.file_errors import naming, quote
from biomechau.json_file import is_number, list_of, read_json

# Keys of different programs for the same things.
_NAMES = ("facsnames", "names", "blendshapenames", "channels", "shapenames", "blendshape_names")
_MATRIX = ("weightmat", "weights", "coefficients", "values", "blendshapes")
_FRAMES = ("frames", "data", "results", "samples", "blendshapes")
_RATE = ("exportfps", "fps", "framerate", "frame_rate")
_VALUES = ("weights", "blendshapes", "coefficients", "values", "scores", "face_blendshapes", "shapes")
_ITEM_NAME = ("categoryname", "category_name", "name", "key", "shape")
_ITEM_VALUE = ("score", "value", "weight", "coefficient")
_TIMES = ("time", "timestamp", "timestamps", "times", "timestamp_ms", "time_ms")
# The key of Audio2Face, whose values are generated, not measured.
_ANIMATION = "weightmat"


def read_json_sequence(
    path: str | Path, fps: float | None = None, count_rows: bool = False, wanted: Iterable[str] = ()
) -> FaceSequence:
    """Read blendshapes over time from a JSON file.

    Three layouts are read:

    - names and a matrix (T, C) with a frame rate or times, as Audio2Face writes it (``facsNames``, ``weightMat``,
      ``exportFps``);
    - names and a list of frames with ``weights`` and ``time``, as in BEAT;
    - a list of frames, each with its time and either an object of values by name or a list of objects with a name and a
      score, as in MediaPipe's results.

    Otherwise it is read like a table (:func:`~biomechau.corpus.blendshape_table.read_blendshape_table`), except that a
    frame of zeros in an Audio2Face animation is a face at rest.

    Args:
        path: the file.
        fps: frame rate [1/s], instead of the file's own rate and times.
        count_rows: treat frames as evenly spaced at ``fps``, and ignore the file's times.
        wanted: names of other shapes to look for.

    Raises:
        ValueError: not JSON of one of these layouts, a frame with more or fewer values than there are names, no frame
            rate, or an error of the table reader; the message names the file, and the frame by its number from 1.
        OSError: the file cannot be read.
    """
    content = read_json(path)
    with naming(path):
        header, rows, rate, animated = _as_table(content)
        if not rows:
            raise ValueError("no frames")
        if rate is not None:
            check_frame_rate(rate)
    table = CsvTable(Path(path), header, [Row(n, row) for n, row in enumerate(rows, 1)], lines=False)
    timed = any(name.lower() in _TIMES for name in header)
    return table_sequence(table, rate if fps is None and not timed else fps, count_rows, wanted, measured=not animated)


def _as_table(content: Any) -> tuple[list[str], list[list[str]], float | None, bool]:
    """Header, rows, the file's own frame rate, and whether the values are an animation instead of a measurement."""
    if isinstance(content, list):
        return (*_table_of_frames(content), None, False)
    if not isinstance(content, dict):
        raise ValueError(f"expected an object or a list of frames, found {quote(content)}")
    entries = _small(content)
    rate = _first(entries, _RATE)
    if rate is not None and not is_number(rate):
        raise ValueError(f"expected a frame rate, found {quote(rate)}")
    names, matrix, frames = (_first(entries, keys) for keys in (_NAMES, _MATRIX, _FRAMES))
    if names is not None and not list_of(lambda name: isinstance(name, str))(names):
        raise ValueError(f"expected a list of names, found {quote(names)}")
    if names is not None and isinstance(matrix, list) and list_of(lambda row: isinstance(row, list))(matrix):
        times = _first(entries, _TIMES)
        header, rows = list(names), [_fields(row, len(names), n) for n, row in enumerate(matrix, 1)]
        if isinstance(times, list):
            if len(times) != len(rows):
                raise ValueError(f"{len(times)} times for {len(rows)} frames")
            key = next(key for key in _TIMES if key in entries)
            header, rows = [key, *header], [[_field(time), *row] for time, row in zip(times, rows, strict=True)]
        return header, rows, rate, _ANIMATION in entries
    if isinstance(frames, list):
        return (*_table_of_frames(frames, names), rate, False)
    raise ValueError(f"expected names and a matrix of weights, or a list of frames; it has {quote(list(content)[:8])}")


def _table_of_frames(frames: list[Any], names: list[str] | None = None) -> tuple[list[str], list[list[str]]]:
    found: list[dict[str, str]] = []
    columns: dict[str, None] = {}
    for number, frame in enumerate(frames, 1):
        if not isinstance(frame, dict):
            raise ValueError(f"frame {number}: expected an object, found {quote(frame)}")
        row = {key: _field(value) for key, value in frame.items() if not isinstance(value, (list, dict))}
        key = next((key for key in frame if key.lower() in _VALUES and isinstance(frame[key], (list, dict))), None)
        if key is not None:
            row |= _values(frame[key], names, number)
        found.append(row)
        columns |= dict.fromkeys(row)
    return list(columns), [[row.get(column, "") for column in columns] for row in found]


def _values(values: Any, names: list[str] | None, number: int) -> dict[str, str]:
    """The values of one frame by name."""
    if isinstance(values, dict):
        return {name: _field(value) for name, value in values.items()}
    if values and isinstance(values[0], list):  # a list of faces
        if len(values) > 1:
            raise ValueError(f"frame {number}: {len(values)} faces, expected one")
        values = values[0]
    if values and isinstance(values[0], dict):
        row = {}
        for item in values:
            entries = _small(item) if isinstance(item, dict) else {}
            name = _first(entries, _ITEM_NAME)
            if not isinstance(name, str):
                raise ValueError(f"frame {number}: expected a name and a value, found {quote(item)}")
            row[name] = _field(_first(entries, _ITEM_VALUE))
        return row
    if not values:
        return {}
    if names is None:
        raise ValueError(f"frame {number}: {len(values)} values without names")
    return dict(zip(names, _fields(values, len(names), number), strict=True))


def _fields(values: list[Any], count: int, number: int) -> list[str]:
    if values and len(values) != count:
        raise ValueError(f"frame {number}: expected {count} values, found {len(values)}")
    return [_field(value) for value in values] or [""] * count


def _field(value: Any) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _small(entries: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in entries.items()}


def _first(entries: Mapping[str, Any], keys: Iterable[str]) -> Any:
    return next((entries[key] for key in keys if key in entries), None)
