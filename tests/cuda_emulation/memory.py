"""Memory of the emulated device: every tensor of a call lies between two pages that nobody can access."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from threading import local
from typing import Any, Literal, NamedTuple

import torch

# Where a tensor touches such a page; None: tensors stay where they are.
Edge = Literal["end", "begin"] | None


class _Moved(NamedTuple):
    source: int
    memory: int
    content: bytes
    at_begin: bool


class Memory(local):
    """The tensors of the call that a thread prepares: copies, of which a call writes back those that it changed."""

    def __init__(self, library: ctypes.CDLL, dtypes: tuple[str, ...]) -> None:
        self._library = library
        self._library.emulation_allocate.restype = ctypes.c_void_p
        self._sizes = [getattr(torch, name).itemsize for name in dtypes]
        self._moved: dict[tuple[int, int, int], _Moved] = {}

    def wrap(self, function: Callable[..., Any], edge: Callable[[], Edge]) -> Callable[..., Any]:
        """The same function of the compiled core: its tensors are moved, and moved back where it is a kernel's call."""

        def call(*args: Any, **kwargs: Any) -> Any:
            at = edge()
            if at is None:
                return function(*args, **kwargs)
            arguments = [self._move(argument, at) for argument in args]
            named = {name: self._move(argument, at) for name, argument in kwargs.items()}
            is_kernel = any(type(value) is tuple and len(value) == 2 for value in (*args, *kwargs.values()))  # a place
            try:
                return function(*arguments, **named)
            finally:
                if is_kernel:
                    self._move_back()

        return call

    def _move(self, value: Any, edge: Edge) -> Any:
        if type(value) is not tuple or len(value) != 3 or value[0] == 0:
            return value
        if value not in self._moved:
            address, numel, dtype = value
            size, at_begin = numel * self._sizes[dtype], edge == "begin"
            memory = self._library.emulation_allocate(ctypes.c_size_t(size), at_begin)
            assert memory is not None, "no memory"
            content = ctypes.string_at(address, size)
            ctypes.memmove(memory, content, size)
            self._moved[value] = _Moved(address, memory, content, at_begin)
        return self._moved[value].memory, *value[1:]

    def _move_back(self) -> None:
        untouched = True
        for source, memory, before, at_begin in self._moved.values():
            content = ctypes.string_at(memory, len(before))
            if content != before:
                ctypes.memmove(source, content, len(before))
            free = self._library.emulation_free
            untouched &= bool(free(ctypes.c_void_p(memory), ctypes.c_size_t(len(before)), at_begin))
        self._moved.clear()
        assert untouched, "a kernel wrote beside a tensor"
