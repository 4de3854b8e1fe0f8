"""Two ways into each op: an autograd Function for eager calls, a ``torch.library`` custom op for all that traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad

from biomechau.ops import tracing
from biomechau.ops.tracing import is_compiling, num_modes

# Bound here, because every call uses it.
_transforms_active: Callable[[], bool] = torch._C._are_functorch_transforms_active
# The usual types of arguments of an eager call.
_PLAIN = frozenset([Tensor, torch.nn.Parameter, type(None), bool, int, float, list, tuple, torch.Size])


def register(
    name: str,
    schema: str,
    forward: Callable[..., Any],
    fake: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Sequence[Tensor]] | None = None,
    differentiable: tuple[str, ...] = (),
) -> Callable[..., Any]:
    """Registers ``biomechau::<name>`` and returns the function that calls it.

    Args:
        name: op name below ``torch.ops.biomechau``.
        schema: its signature in the schema language of torch.
        forward: runs the kernel on real tensors; must not return its inputs.
        fake: shapes and dtypes of the results, for tracing.
        setup_context: what the backward keeps, ``(ctx, inputs, output)``.
        backward: gradients of the differentiable arguments, ``(ctx, needs, *output_gradients)``; values in the place of
            gradients that are not needed are ignored. It is not called if no output has a gradient. Without it,
            a derivative is an error.
        differentiable: the names of those arguments, which follow one another in the schema.

    Eager calls go through an autograd Function, which costs a fraction of a call through the dispatcher. The registered
    op is called wherever a graph is recorded, under dispatch modes and with tensor subclasses.
    """

    def no_derivative(ctx: Any, *grads: Any) -> NoReturn:
        raise RuntimeError(
            f"biomechau::{name} has no derivative: the ops are differentiable once. "
            "For second derivatives call the plain-torch twins in biomechau.ops.reference"
        )

    names = [argument.name for argument in torch._C.parse_schema(f"biomechau::{name}{schema}").arguments]
    first = names.index(differentiable[0]) if differentiable else 0
    wanted = slice(first, first + len(differentiable))
    assert tuple(names[wanted]) == differentiable
    before, after = (None,) * first, (None,) * (len(names) - wanted.stop)

    def gradients(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        if all(grad is None for grad in grads):
            return (None,) * len(names)
        needs = list(ctx.needs_input_grad[wanted])
        assert backward is not None
        found = backward(ctx, needs, *grads)
        return (*before, *[grad if need else None for grad, need in zip(found, needs, strict=True)], *after)

    setup = setup_context or (lambda ctx, inputs, output: None)
    derivative = gradients if backward else no_derivative
    op = torch.library.custom_op(f"biomechau::{name}", forward, mutates_args=(), schema=schema)
    op.register_fake(fake)
    op.register_autograd(derivative, setup_context=setup)

    def forward_and_save(ctx: Any, *args: Any) -> Any:
        output = forward(*args)
        setup(ctx, args, output)
        return tuple(output) if isinstance(output, list) else output  # autograd does not look into lists

    # Without a setup_context of its own: with one, torch inspects the signature of `forward` at every call.
    members = {"forward": staticmethod(forward_and_save), "backward": staticmethod(derivative)}
    function = type(name, (torch.autograd.Function,), members)
    # What Function.apply calls in the end, without its work for transforms, which takes several microseconds per call.
    eager = super(torch.autograd.Function, function).apply  # pyright: ignore[reportAttributeAccessIssue]

    def call(*args: Any) -> Any:
        if is_compiling() or num_modes() > 0:
            return op(*args)
        if tracing.num_paused and tracing.in_jit_trace():
            return tracing.record_op(op, args)
        if _transforms_active():
            raise RuntimeError(
                f"biomechau::{name} does not run under the transforms of torch.func (vmap, grad, vectorized "
                "jacobians); call the plain-torch twins in biomechau.ops.reference there"
            )
        if not _PLAIN.issuperset(map(type, args)):
            for arg in args:
                if isinstance(arg, Tensor) and type(arg) not in _PLAIN:
                    return op(*args)
        if not torch.is_grad_enabled() and forward_ad._current_level < 0:
            return forward(*args)  # as in every backward pass: nothing to record
        return eager(*args)

    return call


def empty_gradients(needs: list[bool], *inputs: Tensor | None) -> list[Tensor]:
    """An uninitialised gradient for each wanted input, a tensor without elements for the others."""
    like = next(tensor for tensor in inputs if tensor is not None)
    return [
        empty_of(tensor) if need and tensor is not None else like.new_empty(0)
        for tensor, need in zip(inputs, needs, strict=True)
    ]


def empty_of(tensor: Tensor) -> Tensor:
    """An uninitialised dense tensor of the same shape, in half the time of ``new_empty``."""
    return torch.empty_like(tensor, memory_format=torch.contiguous_format)
