"""Named groups of arguments of an op: their part of its schema, and groups of constant tensors as one argument."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar, get_type_hints

from torch import Tensor

View = TypeVar("View")

# Types of fields, and their names in torch's schemas.
_WORDS = {Tensor: "Tensor", Tensor | None: "Tensor?", int: "int", float: "float"}


def schema(*records: type[NamedTuple]) -> str:
    """The fields of these records, one after the other, as arguments in a schema."""
    return ", ".join(f"{_WORDS[kind]} {name}" for record in records for name, kind in get_type_hints(record).items())


def num_tensors(record: type[NamedTuple]) -> int:
    """How many fields are tensors; in the records of an op they come first, before its settings."""
    return sum(kind in (Tensor, Tensor | None) for kind in get_type_hints(record).values())


def left_out(record: type[NamedTuple]) -> tuple[Any, ...]:
    """A record with None in every field, for a call that does not use it."""
    return record._make([None] * len(record._fields))


class Constants:
    """The fields of a record whose tensors are only read: one argument of an eager call, made once for many calls.

    Attributes:
        fields: the record, its tensors first; the registered op takes them one by one.
    """

    __slots__ = ("__weakref__", "_addresses", "_tensors", "_view", "fields")

    def __init__(self, fields: tuple[Any, ...]) -> None:
        self.fields = fields
        self._tensors = [field for field in fields if isinstance(field, Tensor)]
        self._addresses: list[int] | None = None

    def view(self, build: Callable[..., View]) -> View:
        """``build(*fields)``, made once, always of the same function: the kernels' object for these fields."""
        addresses = list(map(Tensor.data_ptr, self._tensors))
        if addresses != self._addresses:  # the first time, and where the memory of a tensor has moved
            # Detached: the view keeps its memory, whatever becomes of the tensors.
            self._view = build(*[field.detach() if isinstance(field, Tensor) else field for field in self.fields])
            self._addresses = addresses
        return self._view


def flattened(arguments: Sequence[Any], records: Sequence[type[NamedTuple]]) -> list[Any]:
    """The arguments of a registered op, from those of an eager call, whose last are ``Constants`` or None."""
    start = len(arguments) - len(records)
    flat = list(arguments[:start])
    for record, constants in zip(records, arguments[start:], strict=True):
        flat += left_out(record) if constants is None else constants.fields
    return flat


def grouped(flat: Sequence[Any], records: Sequence[type[NamedTuple]]) -> list[Any]:
    """The inverse of ``flattened``."""
    start = len(flat) - sum(len(record._fields) for record in records)
    arguments = list(flat[:start])
    for record in records:
        fields = tuple(flat[start : start + len(record._fields)])
        arguments.append(None if fields[0] is None else Constants(fields))
        start += len(fields)
    return arguments
