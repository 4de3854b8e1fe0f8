"""The rule of the ops under autocast: float32 inside, as torch has it for its own ops that need the precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

from biomechau.ops.tracing import is_compiling

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")
HALVES = (torch.float16, torch.bfloat16)


def float32_under_autocast(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """Under ``torch.autocast`` half tensors among the arguments become float32, and nothing inside is rounded.

    Without autocast half tensors are refused as before.
    """

    @functools.wraps(function)
    def run(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        if not (_is_active_in_graph() if is_compiling() else _is_active()):
            return function(*args, **kwargs)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            wide: Any = function
            return wide(*map(_widened, args), **{name: _widened(value) for name, value in kwargs.items()})

    return run


_is_active: Callable[[], bool] = torch._C._is_any_autocast_enabled  # bound here, because every call uses it


def _is_active_in_graph() -> bool:
    return torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value
