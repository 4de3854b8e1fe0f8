"""Memory of the emulated device: every tensor of a call lies between two pages that nobody can access."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from threading import local
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

# Where a tensor touches such a page; None: tensors stay where they are.
Edge = Literal["end", "begin"] | None


class _Moved(NamedTuple):
    tensor: Tensor
    memory: int
    content: bytes
    at_begin: bool


class Memory(local):
    """The tensors of the call that a thread prepares: copies, of which a call writes back those that it changed."""

    def __init__(self, library: ctypes.CDLL, dtypes: tuple[str, ...]) -> None:
        self._library = library
        self._library.emulation_allocate.restype = ctypes.c_void_p
        self._dtypes = [getattr(torch, name) for name in dtypes]
        self._moved: list[_Moved] = []

    def wrap(self, function: Callable[..., Any], edge: Callable[[], Edge]) -> Callable[..., Any]:
        """The same function or class of the compiled core: the tensors of a kernel's call are moved, and moved back.

        Objects of a class keep their tensors for later calls: these stay where they are until the object is gone.
        """

        def call(*args: Any, **kwargs: Any) -> Any:
            at = edge()
            is_kernel = any(type(value) is tuple and len(value) == 2 for value in (*args, *kwargs.values()))  # a place
            if at is None or not (is_kernel or isinstance(function, type)):
                return function(*args, **kwargs)
            arguments = [self._move(argument, at) for argument in args]
            named = {name: self._move(argument, at) for name, argument in kwargs.items()}
            try:
                found = function(*arguments, **named)
                if not is_kernel:
                    weakref.finalize(found, self._free, list(self._moved))
                return found
            finally:
                if is_kernel:
                    self._move_back()
                self._moved.clear()

        return call

    def _move(self, value: Any, edge: Edge) -> Any:
        if not isinstance(value, Tensor) or not value.numel():
            return value
        tensor = value.detach().contiguous()
        size, at_begin = tensor.numel() * tensor.itemsize, edge == "begin"
        memory = self._library.emulation_allocate(ctypes.c_size_t(size), at_begin)
        assert memory is not None, "no memory"
        content = ctypes.string_at(tensor.data_ptr(), size)
        ctypes.memmove(memory, content, size)
        self._moved.append(_Moved(tensor, memory, content, at_begin))
        return memory, tensor.numel(), self._dtypes.index(tensor.dtype)

    def _move_back(self) -> None:
        for tensor, memory, before, _ in self._moved:
            content = ctypes.string_at(memory, len(before))
            if content != before:
                ctypes.memmove(tensor.data_ptr(), content, len(before))
        untouched = self._free(self._moved)
        assert untouched, "a kernel wrote beside a tensor"

    def _free(self, moved: list[_Moved]) -> bool:
        """Give memory back; whether nothing was written beside the tensors."""
        free = self._library.emulation_free
        return all([bool(free(ctypes.c_void_p(m.memory), ctypes.c_size_t(len(m.content)), m.at_begin)) for m in moved])
