"""Named groups of arguments of an op, and their part of its schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_type_hints

from torch import Tensor

# Types of fields, and their names in torch's schemas.
_WORDS = {Tensor: "Tensor", Tensor | None: "Tensor?", int: "int", float: "float"}


def schema(*records: type[NamedTuple]) -> str:
    """The fields of these records, one after the other, as arguments in a schema."""
    return ", ".join(f"{_WORDS[kind]} {name}" for record in records for name, kind in get_type_hints(record).items())


def slices(*records: type[NamedTuple]) -> list[slice]:
    """The slice of each record in the arguments that hold them one after the other."""
    starts = [sum(len(record._fields) for record in records[:number]) for number in range(len(records))]
    return [slice(start, start + len(record._fields)) for start, record in zip(starts, records, strict=True)]


def num_tensors(record: type[NamedTuple]) -> int:
    """How many fields are tensors; in the records of an op they come first, before its settings."""
    return sum(kind in (Tensor, Tensor | None) for kind in get_type_hints(record).values())


def left_out(record: type[NamedTuple]) -> tuple[Any, ...]:
    """A record with None in every field, for a call that does not use it."""
    return record._make([None] * len(record._fields))


def is_left_out(arguments: Sequence[Any]) -> bool:
    """Whether the arguments that hold a record are those of ``left_out``."""
    return arguments[0] is None
