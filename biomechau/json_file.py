"""JSON files with finite numbers only, and checks of their entries."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from biomechau.file_errors import quote, reason, regular_file, shorten

_LARGEST = 2**63 - 1


def read_json(path: str | Path) -> Any:
    """The contents of a JSON file.

    Raises:
        ValueError: not JSON, a number that is not finite, or a whole number beyond 64 bits; the message names the file.
        OSError: the file cannot be read.
    """
    regular_file(path)
    try:
        return parse_json(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not JSON: {reason(error)}") from error


def read_json_object(path: str | Path) -> dict[str, Any]:
    """As :func:`read_json`, for a file that contains an object.

    Raises:
        ValueError, OSError: as :func:`read_json`, or not an object.
    """
    values = read_json(path)
    if not isinstance(values, dict):
        raise ValueError(f"{path}: expected a JSON object, found {quote(values)}")
    return values


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text, with finite numbers only.

    Raises:
        ValueError: not JSON, a number that is not finite, or a whole number beyond 64 bits.
        RecursionError: nested too deeply.
    """
    return json.loads(text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole)


def entry(data: Mapping[str, Any], key: str, expected: str, fits: Callable[[Any], bool], parent: str = "") -> Any:
    """One entry of an object.

    Args:
        data: the object.
        key: of the entry.
        expected: description of valid values.
        fits: whether a value is valid.
        parent: path of the object, as ``"rig."``.

    Raises:
        ValueError: the entry is missing or not valid; the message names it.
    """
    name = shorten(f"{parent}{key}")
    if key not in data:
        raise ValueError(f'"{name}" is missing, expected {expected}')
    if not fits(data[key]):
        raise ValueError(f'"{name}": expected {expected}, found {quote(data[key])}')
    return data[key]


def is_object(value: Any) -> bool:
    """Whether a value is an object."""
    return isinstance(value, dict)


def is_text(value: Any) -> bool:
    """Whether a value is a string."""
    return isinstance(value, str)


def is_count(value: Any) -> bool:
    """Whether a value is a positive integer."""
    return type(value) is int and value > 0


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def between(lowest: float, highest: float) -> Callable[[Any], bool]:
    """A check for numbers in a closed interval."""
    return lambda value: is_number(value) and lowest <= value <= highest


def list_of(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check for lists whose items all pass a check."""
    return lambda value: isinstance(value, list) and all(map(fits, value))


def or_null(fits: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """A check for null, or values that pass a check."""
    return lambda value: value is None or fits(value)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {quote(text)} is not finite")
    return value


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > _LARGEST:
        raise ValueError(f"the number {quote(text)} is beyond 64 bits")
    return int(text)


def _refuse(text: str) -> float:
    raise ValueError(f"{text} is not a JSON number")
