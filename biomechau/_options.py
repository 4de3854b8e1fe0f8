"""Options: base of the configuration dataclasses, with validation of their fields and conversion to and from JSON.

The annotation of a field determines its values: ``int``, ``float``, ``bool``, ``str``, a ``Literal``, another
configuration, ``tuple[int, ...]``, or one of these or ``None``. Numbers may have an :class:`Interval`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from biomechau.file_errors import quote

T = TypeVar("T", bound="Options")
_KINDS: dict[Any, tuple[type, str]] = {int: (Integral, "an integer"), float: (Real, "a finite number")}


@dataclass(frozen=True)
class Interval:
    """The allowed range of a number, as ``Interval("[0, 1)")``; ``inf`` means unbounded.

    Raises:
        ValueError: not an interval.
    """

    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\[(][^,]+, [^,]+[\])]", self.text):
            raise ValueError(f"an interval is written as [0, 1) or (0, inf), got {self.text!r}")

    @property
    def bounds(self) -> tuple[float, float]:
        """Lower and upper bound."""
        lower, upper = self.text[1:-1].split(", ")
        return float(lower), float(upper)

    def __contains__(self, value: float) -> bool:
        lower, upper = self.bounds
        above = value >= lower if self.text.startswith("[") else value > lower
        return above and (value <= upper if self.text.endswith("]") else value < upper)

    def __str__(self) -> str:
        lower, upper = self.bounds
        if upper < math.inf:
            return f"in {self.text}"
        return f"of at least {lower:g}" if self.text.startswith("[") else f"above {lower:g}"


Count = Annotated[int, Interval("[1, inf)")]
Whole = Annotated[int, Interval("[0, inf)")]
Positive = Annotated[float, Interval("(0, inf)")]
# Far beyond what weights, damping ratios and seconds are, and far below where float32 overflows.
NotNegative = Annotated[float, Interval("[0, 1e6]")]
# A share less than all.
ProperShare = Annotated[float, Interval("[0, 1)")]
Percentile = Annotated[float, Interval("[0, 100]")]


@dataclass(frozen=True)
class Options:
    """Base of the configuration dataclasses.

    Fields are checked on construction. Numbers become plain ``int`` and ``float``, lists of numbers tuples.

    Raises:
        ValueError: a value that is not allowed; the message names the field.
        TypeError: a value that is not a configuration of the field's class.
    """

    # Values of what models and runs did before an option existed; their files do not name it.
    BEFORE: ClassVar[Mapping[str, Any]] = {}

    def __post_init__(self) -> None:
        for name, annotation in _annotations(type(self)).items():
            object.__setattr__(self, name, _checked(name, getattr(self, name), annotation))

    def to_json(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls: type[T], values: Any) -> T:
        """The inverse of :meth:`to_json`; files of before an option existed are read with its value in ``BEFORE``.

        Raises:
            ValueError: a field that is missing, unknown or out of range.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, Mapping):
            raise ValueError(f"{cls.__name__} must be an object of {len(names)} fields, got {values!r:.60}")
        values = {**cls.BEFORE, **values}
        if values.keys() != names:
            missing, unknown = sorted(names - values.keys()), sorted(values.keys() - names)
            raise ValueError(f"{cls.__name__} has {len(names)} fields: missing {missing}, unknown {unknown}")
        kinds = {name: _parts(annotation)[0] for name, annotation in _annotations(cls).items()}
        inner = {name: kind for name, kind in kinds.items() if isinstance(kind, type) and issubclass(kind, Options)}
        try:
            return cls(**{**values, **{name: kind.from_json(values[name]) for name, kind in inner.items()}})
        except TypeError as error:
            raise ValueError(f"not a {cls.__name__}: {error}") from error


@cache
def _annotations(cls: type[Options]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in fields(cls)}


def _parts(annotation: Any) -> tuple[Any, Interval | None, bool]:
    """The kind of value, the interval, and whether None is allowed."""
    interval, optional = None, False
    while True:
        if get_origin(annotation) is Annotated:
            annotation, *marks = get_args(annotation)
            interval = next((mark for mark in marks if isinstance(mark, Interval)), interval)
        elif get_origin(annotation) in (Union, UnionType):
            (annotation,) = (kind for kind in get_args(annotation) if kind is not NoneType)
            optional = True
        else:
            return annotation, interval, optional


def _checked(name: str, value: Any, annotation: Any) -> Any:
    """The value, converted, if the annotation allows it."""
    kind, interval, optional = _parts(annotation)
    if value is None and optional:
        return None
    origin = get_origin(kind)
    if origin is tuple:
        item = get_args(kind)[0]
        if not isinstance(value, (list, tuple)) or not value:
            raise ValueError(f"{name} must be one or more values, got {quote(value)}")
        return tuple(_checked(name, each, item) for each in value)
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"{name} must be one of {', '.join(map(str, get_args(kind)))}, got {quote(value)}")
        return value
    if kind not in _KINDS:
        if not isinstance(value, kind):
            raise TypeError(f"{name} must be a {kind.__name__}, got {type(value).__name__}")
        return value
    return _checked_number(name, value, kind, interval, optional)


def _checked_number(name: str, value: Any, kind: Any, interval: Interval | None, optional: bool) -> int | float:
    number, words = _KINDS[kind]
    fits = isinstance(value, number) and not isinstance(value, bool) and math.isfinite(value)
    if not fits or (interval is not None and value not in interval):
        expected = words if interval is None else f"{words} {interval}"
        raise ValueError(f"{name} must be {expected}{' or None' if optional else ''}, got {quote(value)}")
    return kind(value)
