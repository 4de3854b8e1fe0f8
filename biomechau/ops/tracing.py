"""What happens to a call while torch records a graph of it: for the rooms of this package, not a public interface."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._guards import detect_fake_mode
from torch.autograd import forward_ad

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Bound here, because every call uses them.
is_compiling = torch.compiler.is_compiling
num_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
transforms_active: Callable[[], bool] = torch._C._are_functorch_transforms_active
is_batched: Callable[[Tensor], bool] = torch._C._functorch.is_batchedtensor  # pyright: ignore[reportAttributeAccessIssue]
is_wrapped: Callable[[Tensor], bool] = torch._C._functorch.is_functorch_wrapped_tensor  # pyright: ignore[reportAttributeAccessIssue]
# The state of ``torch.jit.trace`` in this thread while it records, else None.
jit_trace: Callable[[], object | None] = torch._C._get_tracing_state
_set_jit_trace: Callable[[object | None], None] = torch._C._set_tracing_state  # pyright: ignore[reportAttributeAccessIssue]


class _Paused(threading.local):
    """The recording that a call in this thread has paused."""

    state: object | None = None


_paused = _Paused()
# Calls of all threads in ``only_ops_recorded``: mostly 0, and then no other check is needed.
num_paused = 0


def only_ops_recorded(function: Callable[..., Result], *args: object) -> Result:
    """Calls a function so that ``torch.jit.trace`` records the registered ops that it ends in, and nothing else.

    The function's checks then see sizes as plain numbers, and leave nothing in the graph.
    """
    global num_paused
    state = _paused.state = jit_trace()
    _set_jit_trace(None)
    num_paused += 1
    try:
        return function(*args)
    finally:
        num_paused -= 1
        _paused.state = None
        _set_jit_trace(state)


def plain_shape(tensor: Tensor) -> torch.Size:
    """The shape for checks, as plain numbers: ``torch.jit.trace`` would record operations on any other."""
    return tensor.shape if jit_trace() is None else only_ops_recorded(lambda: tensor.shape)


def record_op(op: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    """Calls a registered op, and has it recorded within ``only_ops_recorded``."""
    state = _paused.state
    if state is None:
        return op(*args)
    _set_jit_trace(state)
    try:
        return op(*args)
    finally:
        _set_jit_trace(None)


def goes_to_dispatcher() -> bool:
    """Whether calls go to the registered ops: under ``torch.compile``, export, ``make_fx``, modes and ``torch.func``.

    Then no value may be read, and what is cached for a tensor does not belong to the tensors of the graph.
    """
    return is_compiling() or num_modes() > 0 or transforms_active()


def in_jit_trace() -> bool:
    """Whether ``torch.jit.trace`` records what this thread does."""
    return _paused.state is not None or jit_trace() is not None


def refuse_in_jit_trace(what: str, advice: str) -> None:
    """``RuntimeError`` where ``torch.jit.trace`` records what its graph cannot hold.

    Its graphs hold neither loops nor conditions, and it only warns about them; ``make_fx`` and export refuse them.
    """
    if not is_compiling() and in_jit_trace():
        raise RuntimeError(f"torch.jit.trace cannot record {what}: {advice}")


def has_values(tensor: Tensor) -> bool:
    """Whether there are numbers that could be read: meta and fake tensors, and those of ``vmap``, have none."""
    if tensor.is_meta or is_batched(tensor):
        return False
    return detect_fake_mode([tensor]) is None


def version(tensor: Tensor) -> int:
    """A number that torch counts up with every change in place; 0 for inference tensors, which have none."""
    return 0 if tensor.is_inference() else tensor._version


def has_tangent(tensor: Tensor) -> bool:
    """Whether forward-mode differentiation follows the tensor."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(tensor).tangent is not None


def require_values(what: str, advice: str, *tensors: object) -> None:
    """``RuntimeError`` where something is to be made of the values of tensors and there are none to be read."""
    refuse_in_jit_trace(what, advice)
    if not all(has_values(tensor) for tensor in tensors if isinstance(tensor, Tensor)):
        raise RuntimeError(f"{what} needs the values of its tensors, but these are meta or fake, or of vmap: {advice}")


def not_compiled(reason: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Has ``torch.compile`` call a function rather than look into it; with ``fullgraph`` that is an error."""

    def decorate(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        disable: Any = torch.compiler.disable
        try:
            return disable(function, reason=reason)
        except TypeError:  # torch before 2.7 knows no reasons
            return disable(function)

    return decorate
