"""What a peer is, and how formulations in torch and JAX become one.

A formulation is a function of the problem's tensors by name. It may hold a tensor in a layout of its own (``arrange``),
as someone who writes it for speed would store a constant or a parameter; the rearranging is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.util import find_spec
from types import ModuleType
from typing import Any, NamedTuple

import torch
from problems import Problem
from torch import Tensor


class Layout(NamedTuple):
    """How a formulation stores a tensor: from the problem's layout and back."""

    store: Callable[[Tensor], Tensor]
    restore: Callable[[Tensor], Tensor]


@dataclass
class Formulation:
    """A function of the tensors by name, its layouts and, for JAX, constants that it takes as its first argument."""

    function: Callable[..., Any]
    arrange: dict[str, Layout] = field(default_factory=dict)
    constants: Any = None


class Runnable(NamedTuple):
    """A prepared peer: two calls, and their results as torch tensors in the problem's layout.

    Attributes:
        forward: returns the outputs, without anything kept for a backward pass.
        both: returns the outputs and the gradients of ``Problem.wrt``.
        tensors: outputs and gradients of such a result.
        in_stream: whether the calls work in torch's current stream.
    """

    forward: Callable[[], Any]
    both: Callable[[], tuple[Any, Any]]
    tensors: Callable[[tuple[Any, Any]], tuple[list[Tensor], list[Tensor]]]
    in_stream: bool = False


@dataclass(frozen=True)
class Peer:
    """A formulation of an op.

    Attributes:
        name: how the tables call it.
        prepare: makes it ready to run on a problem.
        requires: the package it needs beside torch.
        applies: whether it can run on a problem, else the reason why not.
    """

    name: str
    prepare: Callable[[Problem], Runnable]
    requires: str | None = None
    applies: Callable[[Problem], str | None] = lambda problem: None

    def missing(self, problem: Problem) -> str | None:
        """Why it cannot run here, or None."""
        if self.requires and find_spec(self.requires) is None:
            return "not installed"
        on_gpu = next(iter(problem.tensors.values())).device.type == "cuda"
        if self.requires == "jax" and on_gpu and _jax().default_backend() != "gpu":
            return "installed without support for GPUs"
        return self.applies(problem)

    @property
    def compiled(self) -> bool:
        """Whether torch compiles it, which takes seconds to minutes."""
        return self.name.endswith(", compiled")


Build = Callable[[Problem], Formulation]


def torch_peer(build: Build, compiled: bool = False) -> Callable[[Problem], Runnable]:
    """Eager or compiled torch with autograd."""

    def prepare(problem: Problem) -> Runnable:
        formulation = build(problem)
        function, arrange = formulation.function, formulation.arrange
        if compiled:
            function = torch.compile(function, dynamic=False)
        leaves = {}
        for name, tensor in problem.tensors.items():
            stored = arrange[name].store(tensor) if name in arrange else tensor
            leaves[name] = stored.detach().clone().requires_grad_(name in problem.wrt)
        wanted = [leaves[name] for name in problem.wrt]

        def call() -> tuple[Tensor, ...]:
            outputs = function(**leaves)
            return outputs if isinstance(outputs, tuple) else (outputs,)

        def forward() -> tuple[Tensor, ...]:
            with torch.no_grad():
                return call()

        def both() -> tuple[Any, Any]:
            outputs = call()
            return outputs, torch.autograd.grad(outputs[: len(problem.cotangents)], wanted, problem.cotangents)

        def tensors(result: tuple[Any, Any]) -> tuple[list[Tensor], list[Tensor]]:
            outputs, grads = result
            named = zip(problem.wrt, grads, strict=True)
            restored = [arrange[name].restore(grad) if name in arrange else grad for name, grad in named]
            return [output.detach() for output in outputs[: len(problem.cotangents)]], restored

        return Runnable(forward, both, tensors, in_stream=True)

    return prepare


def _jax() -> ModuleType:
    """JAX with float32 products in float32: on recent GPUs its default is TF32, with errors of some 1e-4."""
    import jax

    jax.config.update("jax_default_matmul_precision", "highest")
    return jax


def jax_peer(build: Build) -> Callable[[Problem], Runnable]:
    """JAX, jit-compiled, on its default device; a call ends when its results are there."""

    def prepare(problem: Problem) -> Runnable:
        jax = _jax()
        formulation = build(problem)
        arrange = formulation.arrange

        def array(tensor: Tensor) -> Any:
            return jax.numpy.asarray(tensor.detach().cpu().numpy())

        constants = jax.tree.map(array, formulation.constants)
        cotangents = tuple(map(array, problem.cotangents))
        stored = {
            name: array(arrange[name].store(tensor) if name in arrange else tensor)
            for name, tensor in problem.tensors.items()
        }
        wrt = {name: stored.pop(name) for name in problem.wrt}

        def call(wrt: Any, others: Any, constants: Any) -> Any:
            outputs = formulation.function(constants, **wrt, **others)
            return outputs if isinstance(outputs, tuple) else (outputs,)

        def call_and_pull(wrt: Any, others: Any, constants: Any, cotangents: Any) -> Any:
            outputs, pull = jax.vjp(lambda wrt: call(wrt, others, constants)[: len(cotangents)], wrt)
            return outputs, pull(cotangents)[0]

        run, run_and_pull = jax.jit(call), jax.jit(call_and_pull)

        def tensors(result: tuple[Any, Any]) -> tuple[list[Tensor], list[Tensor]]:
            outputs, grads = (
                [torch.from_numpy(jax.numpy.array(x).__array__().copy()) for x in part]
                for part in (result[0][: len(cotangents)], [result[1][name] for name in problem.wrt])
            )
            named = zip(problem.wrt, grads, strict=True)
            return outputs, [arrange[name].restore(grad) if name in arrange else grad for name, grad in named]

        return Runnable(
            lambda: jax.block_until_ready(run(wrt, stored, constants)),
            lambda: jax.block_until_ready(run_and_pull(wrt, stored, constants, cotangents)),
            tensors,
        )

    return prepare
