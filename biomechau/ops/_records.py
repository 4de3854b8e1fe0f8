"""Arguments of an op that belong together, and what its schema says of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, get_type_hints

from torch import Tensor

# The types of fields in the words of torch's schemas.
_WORDS = {Tensor: "Tensor", Tensor | None: "Tensor?", int: "int", float: "float"}


def schema(*records: type[NamedTuple]) -> str:
    """The arguments that these records hold, one after the other, as a schema names them."""
    return ", ".join(f"{_WORDS[kind]} {name}" for record in records for name, kind in get_type_hints(record).items())


def slices(*records: type[NamedTuple]) -> list[slice]:
    """Where each record lies among the arguments that they are passed as."""
    starts = [sum(len(record._fields) for record in records[:number]) for number in range(len(records))]
    return [slice(start, start + len(record._fields)) for start, record in zip(starts, records, strict=True)]


def num_tensors(record: type[NamedTuple]) -> int:
    """How many fields are tensors; in the records of an op they come first, before its settings."""
    return sum(kind in (Tensor, Tensor | None) for kind in get_type_hints(record).values())


def left_out(record: type[NamedTuple]) -> tuple[Any, ...]:
    """A record without values, of a form that a call does not use."""
    return record._make([None] * len(record._fields))


def is_left_out(arguments: Sequence[Any]) -> bool:
    """Whether a record among the arguments of an op has no values."""
    return arguments[0] is None
