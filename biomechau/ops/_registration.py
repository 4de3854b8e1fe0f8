"""Two ways into each op: an autograd Function for eager calls, a ``torch.library`` custom op for all that traces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, NoReturn

import torch
from torch import Tensor
from torch.autograd import forward_ad

from biomechau.ops import tracing
from biomechau.ops._records import Constants, flattened, grouped
from biomechau.ops.tracing import is_compiling, num_modes, transforms_active

# The usual types of arguments of an eager call.
_PLAIN = frozenset([Tensor, torch.nn.Parameter, type(None), bool, int, float, list, tuple, torch.Size, Constants])


class Folded(NamedTuple):
    """Arguments and results of an op that have batch axes in front.

    Attributes:
        batched: names of the tensors with batch axes; all of them have the same.
        num_results: of the results the first so many have them.
        shared: names of matrices that must have none.
    """

    batched: tuple[str, ...]
    num_results: int = 1
    shared: tuple[str, ...] = ()


def register(
    name: str,
    schema: str,
    forward: Callable[..., Any],
    fake: Callable[..., Any],
    setup_context: Callable[..., None] | None = None,
    backward: Callable[..., Sequence[Tensor | None]] | None = None,
    differentiable: tuple[str, ...] = (),
    folded: Folded | None = None,
    records: tuple[type[NamedTuple], ...] = (),
    num_results: int = 1,
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
            a derivative is an error, and the forward returns a list that may hold None where a gradient is not needed.
        differentiable: the names of those arguments, which follow one another in the schema.
        folded: when ``vmap`` is one call with one more batch axis; otherwise it is a loop of calls.
        records: the last arguments of the schema are the fields of these records, one after the other. The functions
            above and the one returned take ``Constants`` in their place, or None for a record that is left out.
        num_results: so many of the outputs are results; the others are there for the backward, and not returned.

    Eager calls go through an autograd Function, which costs a fraction of a call through the dispatcher. The registered
    op is called wherever a graph is recorded, under dispatch modes, with tensor subclasses and on the device meta.
    """

    def no_derivative(ctx: Any, *grads: Any) -> NoReturn:
        raise RuntimeError(
            f"biomechau::{name} has no derivative: the ops are differentiable once. "
            "For second derivatives call the plain-torch twins in biomechau.ops.reference"
        )

    def no_forward_derivative(ctx: Any, *tangents: Any) -> NoReturn:
        raise RuntimeError(
            f"biomechau::{name} has no forward derivative (jvp, jacfwd, hessian); call the plain-torch twins in "
            "biomechau.ops.reference there"
        )

    arguments = torch._C.parse_schema(f"biomechau::{name}{schema}").arguments
    names = [argument.name for argument in arguments]
    always = next(place for place, argument in enumerate(arguments) if str(argument.type) == "Tensor")
    first = names.index(differentiable[0]) if differentiable else 0
    wanted = slice(first, first + len(differentiable))
    assert tuple(names[wanted]) == differentiable
    before = (None,) * first

    def gradients(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        needs = ctx.needs_input_grad  # of the arguments one by one or by records, as they were given
        after = (None,) * (len(needs) - wanted.stop)
        for grad in grads:
            if grad is not None:
                break
        else:
            return (*before, *(None,) * len(differentiable), *after)
        assert backward is not None
        needed = needs[wanted]
        found = [grad if need else None for grad, need in zip(backward(ctx, needed, *grads), needed, strict=True)]
        return (*before, *found, *after)

    setup = setup_context or (lambda ctx, inputs, output: None)
    derivative = gradients if backward else no_derivative

    def registered(function: Callable[..., Any]) -> Callable[..., Any]:
        """The function as the dispatcher calls it."""

        def call(*flat: Any) -> Any:
            output = function(*grouped(flat, records))
            if isinstance(output, list):  # of tensors: None is none
                return [flat[always].new_empty(0) if tensor is None else tensor for tensor in output]
            return output

        return call

    def registered_setup(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        setup(ctx, grouped(inputs, records), output)

    op = torch.library.custom_op(f"biomechau::{name}", registered(forward), mutates_args=(), schema=schema)
    op.register_fake(registered(fake))
    op.register_autograd(derivative, setup_context=registered_setup)

    def results(output: Any) -> Any:
        """The outputs that are results; not a list, because autograd does not look into lists."""
        if isinstance(output, Tensor):
            return output
        if backward is None:
            return tuple(output)
        return output[0] if num_results == 1 else output[:num_results]

    def forward_and_save(ctx: Any, *args: Any) -> Any:
        output = forward(*args)
        setup(ctx, args, output)
        return results(output)

    # Without a setup_context of its own: with one, torch inspects the signature of `forward` at every call.
    members = {"forward": staticmethod(forward_and_save), "backward": staticmethod(derivative)}
    members["jvp"] = staticmethod(no_forward_derivative)
    function = type(name, (torch.autograd.Function,), members)
    # What Function.apply calls in the end, without its work for transforms, which takes several microseconds per call.
    eager = super(torch.autograd.Function, function).apply  # pyright: ignore[reportAttributeAccessIssue]

    def call(*args: Any) -> Any:
        if is_compiling() or num_modes() > 0:
            return results(op(*flattened(args, records)))
        if tracing.num_paused and tracing.in_jit_trace():
            return results(tracing.record_op(op, tuple(flattened(args, records))))
        if transforms_active():
            return results(transformed.apply(*flattened(args, records)))
        if args[always].is_meta:
            return results(op(*flattened(args, records)))
        if not _PLAIN.issuperset(map(type, args)):
            for arg in args:
                if isinstance(arg, Tensor) and type(arg) not in _PLAIN:
                    return results(op(*flattened(args, records)))
        try:
            if not torch.is_grad_enabled() and forward_ad._current_level < 0:
                return results(forward(*args))  # as in every backward pass: nothing to record
            return eager(*args)
        except RuntimeError as error:
            if "have storage" not in str(error):
                raise
            raise RuntimeError(
                f"biomechau::{name} got a tensor without memory, as torch.autograd makes for is_grads_batched and "
                "vectorize: use torch.func.vmap or torch.func.jacrev"
            ) from error

    def forward_of_transforms(*flat: Any) -> Any:
        output = op(*flat)
        return tuple(output) if isinstance(output, list) else output

    def call_within_vmap(*flat: Any) -> Any:
        return transformed.apply(*flat) if transforms_active() else forward_of_transforms(*flat)

    # For torch.func (vmap, grad, jacrev): like the eager Function, in the form that transforms ask for.
    members = {
        "forward": staticmethod(forward_of_transforms),
        "setup_context": staticmethod(registered_setup),
        "backward": staticmethod(derivative),
        "jvp": staticmethod(no_forward_derivative),
        "vmap": staticmethod(_vmap_rule(call_within_vmap, names, folded)),
    }
    transformed = type(name, (torch.autograd.Function,), members)
    return call


def _vmap_rule(call: Callable[..., Any], names: list[str], folded: Folded | None) -> Callable[..., Any]:
    """The rule of ``torch.func.vmap`` for an op: ``(info, in_dims, *args)`` to the results and their axes."""

    def in_one_call(info: Any, in_dims: tuple[int | None, ...], args: tuple[Any, ...], folded: Folded) -> Any:
        given = zip(names, args, in_dims, strict=True)
        return call(*[_with_axis(x, dim, info.batch_size) if name in folded.batched else x for name, x, dim in given])

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> tuple[Any, Any]:
        mapped = {name for name, dim in zip(names, in_dims, strict=True) if isinstance(dim, int)}
        if folded is not None and mapped <= set(folded.batched):
            matrices = [x for name, x in zip(names, args, strict=True) if name in folded.shared and x is not None]
            if all(matrix.ndim == 2 for matrix in matrices):
                out = in_one_call(info, in_dims, args, folded)
                if isinstance(out, Tensor):
                    return out, 0
                return out, tuple(0 if index < folded.num_results else None for index in range(len(out)))
        rows = [
            call(*[x.select(dim, row) if isinstance(dim, int) else x for x, dim in zip(args, in_dims, strict=True)])
            for row in range(info.batch_size)
        ]
        if isinstance(rows[0], Tensor):
            return torch.stack(rows), 0
        kind = type(rows[0])
        return kind([torch.stack(column) for column in zip(*rows, strict=True)]), kind([0] * len(rows[0]))

    return rule


def _with_axis(tensor: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    if tensor is None:
        return None
    return tensor.movedim(dim, 0) if dim is not None else tensor.expand(size, *tensor.shape)


def empty_gradients(needs: Sequence[bool], *inputs: Tensor | None) -> list[Tensor | None]:
    """An uninitialised gradient for each wanted input, None for the others."""
    return [
        tensor.new_empty(*tensor.shape) if need and tensor is not None else None
        for tensor, need in zip(inputs, needs, strict=True)
    ]


def empty_of(tensor: Tensor) -> Tensor:
    """An uninitialised dense tensor of the same shape. Of all ways to make one, sizes one by one cost the least."""
    return tensor.new_empty(*tensor.shape)
