"""The Euler rollout with constant matrices, from generalized forces or directly from muscle forces (Eq. 9 and 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from biomechau import _core
from biomechau.ops import _check, reference
from biomechau.ops._backend import place, runs_reference
from biomechau.ops._modal_system import ModalSystem
from biomechau.ops._registration import Folded, register
from biomechau.ops.autocast import float32_under_autocast
from biomechau.ops.tracing import jit_trace, only_ops_recorded


@float32_under_autocast
def modal_rollout(
    system: ModalSystem, force: Tensor | None, c0: Tensor, v0: Tensor, muscle_force: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Integrates M c'' + D c' + K c = Q + A F over all frames, the matrices prepared once in a ``ModalSystem``.

    Equivalent to ``ops.euler_rollout(system.mass, force + muscle_force @ A.mT, c0, v0, system.dt, system.damping,
    system.stiffness, system.scheme)``, but projection, solve and recurrence are one pass: every normal mode is a scalar
    recurrence, and with A folded into the modes no generalized force is formed.

    Args:
        system: the matrices, the time step and the scheme.
        force: generalized force Q of frames 0 .. T-1 [mass x length / time^2], shape (..., T, K).
        c0: coefficients at frame 0, shape (..., K).
        v0: their rates at frame 0 [1 / time], shape (..., K).
        muscle_force: F of the same frames, shape (..., T, M), or (..., T, M, 3), to fit the projection. Q or F may be
            None, not both.

    Returns:
        c and v at frames 1 .. T, each of shape (..., T, K).

    Raises:
        TypeError: a tensor has another dtype than the system.
        ValueError: a shape or a device does not fit, there is no force, or there is F but the system has no projection.

    Example:
        >>> system = ops.ModalSystem(torch.eye(1), projection=torch.full((1, 1), 0.5))
        >>> c, v = ops.modal_rollout(system, None, torch.zeros(1), torch.ones(1), torch.tensor([[4.0], [0.0], [0.0]]))
        >>> c.flatten(), v.flatten()
        (tensor([1., 4., 7.]), tensor([3., 3., 3.]))
    """
    if jit_trace() is not None:
        return only_ops_recorded(modal_rollout, system, force, c0, v0, muscle_force)
    if not isinstance(system, ModalSystem):
        raise TypeError(f"system must be a ModalSystem, got {type(system).__name__}")
    constants, num_shapes = system.constants, system.num_coordinates
    names = ("the system", "force?", "c0", "v0", "muscle_force?")
    _check.same_kind(names, constants, force, c0, v0, muscle_force)
    inputs = system.input_shape or ()
    if muscle_force is not None and system.input_shape is None:
        raise ValueError("muscle_force needs a system with a projection")
    if force is not None:
        frames = _frames("force", force, (num_shapes,))
        if muscle_force is not None and muscle_force.shape != (*frames, *inputs):
            raise _check.wrong_shape("muscle_force", muscle_force, str((*frames, *inputs)))
    elif muscle_force is not None:
        frames = _frames("muscle_force", muscle_force, inputs)
    else:
        raise ValueError("force and muscle_force are both None: give one of them")
    state = (*frames[:-1], num_shapes)
    if c0.shape != state:
        raise _check.wrong_shape("c0", c0, str(state))
    if v0.shape != state:
        raise _check.wrong_shape("v0", v0, str(state))
    if runs_reference(constants):
        return reference.modal_rollout(system, force, c0, v0, muscle_force)
    settings = math.prod(inputs) if inputs else 0, system.dt, _check.SCHEMES.index(system.scheme), system.has_modes
    return _op(constants, force, muscle_force, c0, v0, *settings)


def _frames(name: str, tensor: Tensor, last: tuple[int, ...]) -> tuple[int, ...]:
    """(*batch, T) of a tensor (*batch, T, *last)."""
    shape, size = tensor.shape, len(last)
    if len(shape) <= size or shape[len(shape) - size :] != last:
        raise _check.wrong_shape(name, tensor, f"(..., T, {', '.join(map(str, last))})")
    return shape[: len(shape) - size]


def _forward(
    constants: Tensor,
    force: Tensor | None,
    muscle_force: Tensor | None,
    c0: Tensor,
    v0: Tensor,
    num_inputs: int,
    dt: float,
    scheme: int,
    has_modes: bool,
) -> tuple[Tensor, Tensor]:
    c, v = _fake(constants, force, muscle_force, c0)
    *batch, num_frames, num_shapes = c.shape
    sizes = _core.ModalSizes(math.prod(batch), num_frames, num_shapes, num_inputs, scheme, dt, has_modes)
    _core.modal_rollout_fwd(sizes, constants, force, muscle_force, c0, v0, c, v, place(c))
    return c, v


def _fake(
    constants: Tensor, force: Tensor | None, muscle_force: Tensor | None, c0: Tensor, *rest: Any
) -> tuple[Tensor, Tensor]:
    given = muscle_force if force is None else force
    assert given is not None
    *batch, num_shapes = c0.shape
    shape = (*batch, given.shape[len(batch)], num_shapes)
    return c0.new_empty(*shape), c0.new_empty(*shape)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    constants, _force, muscle_force, _c0, _v0, *ctx.settings = inputs
    ctx.save_for_backward(constants)
    ctx.set_materialize_grads(False)
    ctx.shape = output[0].shape
    ctx.muscle_shape = () if muscle_force is None else muscle_force.shape


def _backward(ctx: Any, needs: Sequence[bool], grad_c: Tensor | None, grad_v: Tensor | None) -> Sequence[Tensor | None]:
    (constants,) = ctx.saved_tensors
    return _bwd_op(constants, grad_c, grad_v, ctx.shape, ctx.muscle_shape, *ctx.settings, needs)


def _bwd(
    constants: Tensor,
    grad_c: Tensor | None,
    grad_v: Tensor | None,
    shape: list[int],
    muscle_shape: list[int],
    num_inputs: int,
    dt: float,
    scheme: int,
    has_modes: bool,
    needs: Sequence[bool],
) -> list[Tensor | None]:
    grads = _bwd_fake(constants, grad_c, grad_v, shape, muscle_shape, needs)
    *batch, num_frames, num_shapes = shape
    sizes = _core.ModalSizes(math.prod(batch), num_frames, num_shapes, num_inputs, scheme, dt, has_modes)
    grad_force, grad_muscle_force, grad_c0, grad_v0 = grads
    _core.modal_rollout_bwd(
        sizes, constants, grad_c, grad_v, grad_force, grad_muscle_force, grad_c0, grad_v0, place(constants)
    )
    return grads


def _bwd_fake(
    constants: Tensor,
    grad_c: Tensor | None,
    grad_v: Tensor | None,
    shape: list[int],
    muscle_shape: list[int],
    *rest: Any,
) -> list[Tensor | None]:
    start = (*shape[:-2], shape[-1])
    shapes = (shape, muscle_shape, start, start)
    return [constants.new_empty(*of) if need else None for of, need in zip(shapes, rest[-1], strict=True)]


_bwd_op = register(
    "modal_rollout_bwd",
    "(Tensor constants, Tensor? grad_c, Tensor? grad_v, SymInt[] shape, SymInt[] muscle_shape, int num_inputs, "
    "float dt, int scheme, bool has_modes, bool[] needs) -> Tensor[]",
    _bwd,
    _bwd_fake,
)
_op = register(
    "modal_rollout",
    "(Tensor constants, Tensor? force, Tensor? muscle_force, Tensor c0, Tensor v0, int num_inputs, float dt, "
    "int scheme, bool has_modes) -> (Tensor, Tensor)",
    _forward,
    _fake,
    _setup_context,
    _backward,
    differentiable=("force", "muscle_force", "c0", "v0"),
    folded=Folded(("force", "muscle_force", "c0", "v0"), num_results=2),
    num_results=2,
)
