"""Where the CUDA kernels run in the tests: emulated on the CPU, or on a GPU."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from cuda_emulation import emulated
from cuda_emulation.memory import Edge, Memory
from ops.cases import assert_close, results_of
from torch import Tensor, nn

from biomechau import _core
from biomechau.ops import SparseMatrix, _backend


class Gpu:
    """Moves inputs to the GPU."""

    name = "cuda"

    def to(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.to(item) for name, item in value.items()}
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*map(self.to, value))
        if isinstance(value, nn.Module):
            return copy.deepcopy(value).to("cuda")
        return value.to("cuda") if isinstance(value, (Tensor, SparseMatrix)) else value

    def set_order(self, seed: int) -> None:
        """The order of threads and blocks in the emulation: 0 rising, 1 falling, else shuffled."""


class Emulation(Gpu):
    """Tensors stay where they are; the kernels of the compiled core are those of the emulated one.

    Attributes:
        edge: which edge of a tensor the kernels find at a page that nobody can access.
    """

    name = "emulated"
    stream = 0x5EED
    edge: Edge = "end"

    def __init__(self, module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        core = emulated.load(module)
        self.library = ctypes.CDLL(str(module))
        memory = Memory(self.library, core.dtypes)
        for name, value in vars(core).items():
            if not name.startswith("_"):
                monkeypatch.setattr(_core, name, memory.wrap(value, lambda: self.edge) if callable(value) else value)
        self.device = 0
        monkeypatch.setattr(_backend, "gpu", lambda tensor: (self.device, self.stream))
        self.library.emulation_stream.restype = ctypes.c_size_t
        self.set_order(0)
        self.set_most_shared(64 * 1024)
        self.library.emulation_refuse_launches(0)
        for device in (0, 1):
            self.set_fault(device, 0)

    def to(self, value: Any) -> Any:
        return value

    def set_order(self, seed: int) -> None:
        self.library.emulation_set_order(ctypes.c_uint(seed))

    def set_most_shared(self, size: int) -> None:
        """The shared memory that a block may ask for [bytes]."""
        self.library.emulation_set_most_shared(ctypes.c_size_t(size))

    def set_fault(self, device: int, error: int) -> None:
        """What a device answers when a kernel is to be loaded: 0, or the number of an error of CUDA."""
        self.library.emulation_set_fault(ctypes.c_int(device), ctypes.c_int(error))

    def before_launch(self, call: Callable[[], None]) -> None:
        """Calls a function once, in the next launch that needs more than 48 KB of shared memory, all settings made."""
        self._call = ctypes.CFUNCTYPE(None)(call)  # kept: the library holds its address only
        self.library.emulation_before_launch(self._call)


def missing_gpu() -> str | None:
    """Why the kernels cannot run on a GPU here, or None."""
    if not torch.cuda.is_available():
        return "no GPU that torch can use"
    return None if _core.cuda else "biomechau was built without CUDA kernels"


def compare_on(gpu: Gpu, op: Callable[..., Any], twin: Callable[..., Any], inputs: dict[str, Tensor | None]) -> None:
    """The op on the GPU against the twin on the CPU: the outputs and the gradient of every input."""
    for actual, expected in zip(results_of(op, gpu.to(inputs)), results_of(twin, inputs), strict=True):
        assert_close(actual.cpu(), expected)
