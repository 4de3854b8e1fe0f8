"""How Warp kernels become a peer. On a CPU, Warp runs a kernel on one thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import warp as wp
from problems import Problem
from torch import Tensor

from peers.adapters import Runnable

wp.config.log_level = wp.LOG_WARNING  # no banner, and no lines about compiled kernels
wp.init()


def array(tensor: Tensor, dtype: Any = wp.float32, grad: bool = False) -> wp.array:
    """A Warp array of its own with a tensor's values."""
    return wp.clone(wp.from_torch(tensor.detach().contiguous(), dtype=dtype), requires_grad=grad)


def zeros(problem: Problem, *shape: int, grad: bool = True) -> wp.array:
    """A float32 array on the problem's device."""
    return wp.zeros(shape, dtype=wp.float32, device=device(problem), requires_grad=grad)


def device(problem: Problem) -> str:
    """Warp's name for where the problem's tensors are."""
    return str(next(iter(problem.tensors.values())).device)


def taped(
    problem: Problem,
    launches: Callable[[], None],
    outputs: list[wp.array],
    inputs: list[wp.array],
    tensors: Callable[[list[Tensor], list[Tensor]], tuple[list[Tensor], list[Tensor]]],
    cotangents: tuple[Tensor, ...] | None = None,
) -> Runnable:
    """Kernels whose gradients Warp derives. The tape is recorded once; its arrays are used again in every call.

    Args:
        problem: the problem.
        launches: launches the kernels of the forward pass.
        outputs: what they write.
        inputs: those that gradients are asked for.
        tensors: brings outputs and gradients to the problem's layout.
        cotangents: gradients of the outputs, where they are laid out otherwise than the problem's.
    """
    tape = wp.Tape()
    with tape:
        launches()
    shaped = zip(cotangents or problem.cotangents, outputs, strict=True)
    seeds = {output: array(cotangent.reshape(output.shape)) for cotangent, output in shaped}

    def both() -> tuple[Any, Any]:
        launches()
        tape.zero()
        tape.backward(grads=seeds)
        return outputs, [value.grad for value in inputs]

    def forward() -> Any:
        launches()
        return outputs

    def results(result: tuple[Any, Any]) -> tuple[list[Tensor], list[Tensor]]:
        return tensors([wp.to_torch(x) for x in result[0]], [wp.to_torch(x) for x in result[1]])

    return Runnable(forward, both, results)
